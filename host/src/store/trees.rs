//! The rows in a database's file: its trees of pages are walked, and what cannot be read is counted.
//!
//! A page belongs to one tree, so that a damaged one neither leads in circles nor into another table.

use std::collections::HashSet;

use super::backup::Copied;
use super::db::Value;
use super::pages::{FILE_HEADER, Pages, number};

/// How large a row may be: SQLite itself allows no larger one.
const LARGEST: usize = 1_000_000_000;

/// After how many pages it is told how many are read.
const SLICE: usize = 1024;

/// How a tree is made: of rows with numbers, or of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeKind {
    Table,
    Index,
}

/// A row as it is stored: its number, if its tree has numbers, and its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredRow {
    pub(super) number: Option<i64>,
    pub(super) values: Vec<Value>,
}

/// What could not be read of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TreeLoss {
    /// Pages that are not there, or hold something else.
    pub(super) pages: u64,
    /// Rows in pages that are there.
    pub(super) rows: u64,
}

impl TreeLoss {
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The pages of a file, and which of them are known to belong to something.
pub(super) struct Trees<'a> {
    pub(super) pages: Pages,
    taken: HashSet<u32>,
    told: &'a mut dyn FnMut(Copied),
    /// How many pages are read when that is told next.
    next_told: usize,
}

impl<'a> Trees<'a> {
    /// `told` learns from time to time how many pages are read.
    pub(super) fn of(pages: Pages, told: &'a mut dyn FnMut(Copied)) -> Self {
        let mut trees = Self {
            pages,
            taken: HashSet::new(),
            told,
            next_told: SLICE,
        };
        trees.take_free();
        trees
    }

    /// Notes the free pages: what is in them was deleted.
    fn take_free(&mut self) {
        let mut next = self.pages.header().map_or(0, |header| header.free);
        while next != 0
            && self.taken.insert(next)
            && let Some(page) = self.pages.page(next)
        {
            let count = number(&page, 4).unwrap_or_default() as usize;
            let room = self.pages.usable() / 4 - 2;
            let listed = (0..count.min(room)).filter_map(|at| number(&page, 8 + 4 * at));
            self.taken.extend(listed);
            next = number(&page, 0).unwrap_or_default();
        }
    }

    /// Gives each row of a tree to `found`, in order, which says whether it can be one of it.
    pub(super) fn walk(
        &mut self,
        root: u32,
        kind: TreeKind,
        mut found: impl FnMut(StoredRow) -> bool,
    ) -> TreeLoss {
        let mut loss = TreeLoss::default();
        let mut last = None;
        let mut waiting = vec![root];
        while let Some(at) = waiting.pop() {
            let Some(page) = self.node(at, kind) else {
                loss.pages += 1;
                continue;
            };
            let mut lost = page.lost;
            let mut fitting = 0;
            for row in page.rows {
                let Some(row) = row else {
                    lost += 1;
                    continue;
                };
                let is_in_order = row.number.is_none() || row.number > last;
                let number = row.number;
                if is_in_order && found(row) {
                    last = number.or(last);
                    fitting += 1;
                } else {
                    lost += 1;
                }
            }
            if page.children.is_empty() && fitting == 0 && lost > 0 {
                // It may be a page of another tree.
                self.taken.remove(&at);
                loss.pages += 1;
            } else {
                loss.rows += lost;
            }
            waiting.extend(page.children.into_iter().rev());
        }
        loss
    }

    /// Gives each row in pages that belong to nothing to `found`. They may be what is left of a damaged
    /// tree, or of what was deleted.
    pub(super) fn strays(&mut self, mut found: impl FnMut(TreeKind, StoredRow)) {
        for at in 2..=self.pages.count() {
            if self.taken.contains(&at) {
                continue;
            }
            let Some(bytes) = self.pages.page(at) else {
                continue;
            };
            let kind = match bytes[0] {
                13 => TreeKind::Table,
                10 => TreeKind::Index,
                _ => continue,
            };
            let Some(node) = TreePage::parse(&bytes, 0, self.pages.usable(), kind) else {
                continue;
            };
            for cell in node.cells {
                if let Some(row) = self.row(&bytes, &cell) {
                    found(kind, row);
                }
            }
        }
    }

    /// Reads a page of a tree with its rows. `None` if it is not one.
    fn node(&mut self, at: u32, kind: TreeKind) -> Option<ReadPage> {
        if self.taken.contains(&at) {
            return None;
        }
        let bytes = self.pages.page(at)?;
        let begin = if at == 1 { FILE_HEADER } else { 0 };
        let node = TreePage::parse(&bytes, begin, self.pages.usable(), kind)?;
        self.taken.insert(at);
        if self.taken.len() >= self.next_told {
            self.next_told = self.taken.len() + SLICE;
            (self.told)(Copied {
                pages: self.taken.len() as u64,
                of: self.pages.count().into(),
            });
        }
        let has_rows = kind == TreeKind::Index || node.is_leaf;
        let rows = node.cells.iter().filter(|_| has_rows);
        let rows = rows.map(|cell| self.row(&bytes, cell)).collect();
        let children = node.cells.iter().filter_map(|cell| cell.child);
        let children = children.chain(node.last_child).collect();
        Some(ReadPage {
            rows,
            children,
            lost: node.lost,
        })
    }

    fn row(&mut self, page: &[u8], cell: &TreeCell) -> Option<StoredRow> {
        let mut payload = page.get(cell.local.clone())?.to_vec();
        let mut next = cell.overflow;
        let mut taken = Vec::new();
        while payload.len() < cell.payload {
            if taken.contains(&next) || !self.taken.insert(next) {
                self.give_back(&taken);
                return None;
            }
            taken.push(next);
            let Some(page) = self.pages.page(next) else {
                self.give_back(&taken);
                return None;
            };
            let rest = (cell.payload - payload.len()).min(self.pages.usable() - 4);
            payload.extend_from_slice(page.get(4..4 + rest)?);
            next = number(&page, 0)?;
        }
        let values = record(&payload);
        if values.is_none() {
            self.give_back(&taken);
        }
        Some(StoredRow {
            number: cell.number,
            values: values?,
        })
    }

    /// What led here was damaged: the pages may belong to something else.
    fn give_back(&mut self, taken: &[u32]) {
        for page in taken {
            self.taken.remove(page);
        }
    }
}

/// A page of a tree, with what could be read of it.
struct ReadPage {
    rows: Vec<Option<StoredRow>>,
    children: Vec<u32>,
    lost: u64,
}

/// A page of a tree.
struct TreePage {
    is_leaf: bool,
    cells: Vec<TreeCell>,
    last_child: Option<u32>,
    /// Cells that are not where they should be, and one if the page does not add up.
    lost: u64,
}

/// What a page holds for a row or a child.
struct TreeCell {
    child: Option<u32>,
    number: Option<i64>,
    payload: usize,
    /// The part of the payload that is in the page.
    local: std::ops::Range<usize>,
    overflow: u32,
    /// What it takes in the page.
    end: usize,
}

impl TreePage {
    /// Reads a page whose own header is at `begin`. `None` if it is none of that kind.
    fn parse(page: &[u8], begin: usize, usable: usize, kind: TreeKind) -> Option<Self> {
        let page = page.get(..usable)?;
        let is_leaf = match (page.get(begin)?, kind) {
            (5, TreeKind::Table) | (2, TreeKind::Index) => false,
            (13, TreeKind::Table) | (10, TreeKind::Index) => true,
            _ => return None,
        };
        let count = short(page, begin + 3)?;
        let places = begin + if is_leaf { 8 } else { 12 };
        let last_child = (!is_leaf).then(|| number(page, begin + 8)).flatten();
        if places + 2 * count > usable {
            return None;
        }
        let mut node = Self {
            is_leaf,
            cells: Vec::with_capacity(count),
            last_child,
            lost: 0,
        };
        let mut used = Vec::with_capacity(count);
        for index in 0..count {
            let at = short(page, places + 2 * index)?;
            let cell = (at >= places + 2 * count)
                .then(|| TreeCell::parse(page, at, is_leaf, kind))
                .flatten();
            match cell {
                Some(cell) => {
                    // The least that SQLite can free again.
                    used.push((at, cell.end.max(at + 4)));
                    node.cells.push(cell);
                }
                None => node.lost += 1,
            }
        }
        if node.lost == 0 && !adds_up(page, begin, places + 2 * count, used) {
            node.lost = 1;
        }
        Some(node)
    }
}

/// Whether cells, free blocks and fragments fill a page, each byte once.
fn adds_up(page: &[u8], begin: usize, places: usize, mut used: Vec<(usize, usize)>) -> bool {
    let content = match short(page, begin + 5) {
        Some(0) => 65_536,
        Some(content) => content,
        None => return false,
    };
    let mut block = short(page, begin + 1).unwrap_or_default();
    while block != 0 {
        let (Some(next), Some(size)) = (short(page, block), short(page, block + 2)) else {
            return false;
        };
        used.push((block, block + size));
        if size < 4 || (next != 0 && next <= block) {
            return false;
        }
        block = next;
    }
    used.sort_unstable();
    let (mut free, mut at) = (0, content);
    for (from, to) in used {
        if from < at {
            return false;
        }
        free += from - at;
        at = to;
    }
    let fragments = page.get(begin + 7).copied().unwrap_or_default();
    content >= places && at <= page.len() && free + (page.len() - at) == usize::from(fragments)
}

impl TreeCell {
    fn parse(page: &[u8], mut at: usize, is_leaf: bool, kind: TreeKind) -> Option<Self> {
        let mut cell = Self {
            child: None,
            number: None,
            payload: 0,
            local: at..at,
            overflow: 0,
            end: at,
        };
        if !is_leaf {
            cell.child = Some(number(page, at)?);
            at += 4;
        }
        if is_leaf || kind == TreeKind::Index {
            let payload;
            (payload, at) = varint(page, at)?;
            cell.payload = usize::try_from(payload)
                .ok()
                .filter(|size| *size <= LARGEST)?;
        }
        if kind == TreeKind::Table {
            let number;
            (number, at) = varint(page, at)?;
            cell.number = Some(number);
        }
        let local = local_size(cell.payload, page.len(), kind);
        cell.local = at..at + local;
        at += local;
        if local < cell.payload {
            cell.overflow = number(page, at)?;
            at += 4;
        }
        cell.end = at;
        (at <= page.len()).then_some(cell)
    }
}

/// Returns how much of a payload is in its page.
fn local_size(payload: usize, usable: usize, kind: TreeKind) -> usize {
    let most = match kind {
        TreeKind::Table => usable - 35,
        TreeKind::Index => (usable - 12) * 64 / 255 - 23,
    };
    if payload <= most {
        return payload;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let rest = least + (payload - least) % (usable - 4);
    if rest <= most { rest } else { least }
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

/// Reads a number of one to nine bytes, and returns where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut number = 0_u64;
    for index in 0..8 {
        let byte = *bytes.get(at + index)?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((number.cast_signed(), at + index + 1));
        }
    }
    let last = *bytes.get(at + 8)?;
    Some(((number << 8 | u64::from(last)).cast_signed(), at + 9))
}

/// Reads the values of a row. `None` if they do not fill it.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let (header, mut at) = varint(payload, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let kind;
        (kind, at) = varint(payload, at)?;
        let value;
        (value, body) = value_at(payload, kind, body)?;
        values.push(value);
    }
    (at == header && body == payload.len()).then_some(values)
}

fn value_at(payload: &[u8], kind: i64, at: usize) -> Option<(Value, usize)> {
    let size = match kind {
        0 | 8 | 9 => 0,
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 | 7 => 8,
        12.. => usize::try_from((kind - 12) / 2).ok()?,
        _ => return None,
    };
    let end = at.checked_add(size)?;
    let bytes = payload.get(at..end)?;
    let value = match kind {
        0 => Value::Null,
        7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
        8 | 9 => Value::Integer(kind - 8),
        1..=6 => {
            let sign = if bytes[0] < 0x80 { 0 } else { -1 };
            let whole = bytes
                .iter()
                .fold(sign, |whole: i64, byte| whole << 8 | i64::from(*byte));
            Value::Integer(whole)
        }
        _ if kind % 2 == 0 => Value::Bytes(bytes.to_vec()),
        _ => match str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Bytes(bytes.to_vec()),
        },
    };
    Some((value, end))
}
