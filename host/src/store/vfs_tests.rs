//! SQLite on a simulated disk: the functions that it calls for its files.
//!
//! A crate for this would need libclang wherever the tests are built.
#![expect(unsafe_code, reason = "SQLite calls its files through pointers")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rusqlite::ffi;
use rusqlite::{Connection, OpenFlags};

use super::disk_tests::{SimCode, SimDisk};

/// The name of these functions.
const VFS: &CStr = c"simulated";

/// The files whose directory SQLite synchronises with them where they may be new.
const JOURNALS: c_int = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL;

/// The disks, by the directories whose files they hold.
static DISKS: Mutex<BTreeMap<String, Arc<SimDisk>>> = Mutex::new(BTreeMap::new());

/// Registered once, and there as long as the process.
static REGISTERED: LazyLock<()> = LazyLock::new(register);

/// A directory whose databases are on a simulated disk, until this is dropped.
pub(super) struct SimPlace {
    directory: String,
    pub(super) disk: Arc<SimDisk>,
}

impl SimPlace {
    pub(super) fn new(directory: &Path, disk: SimDisk) -> Self {
        LazyLock::force(&REGISTERED);
        let directory = directory.to_str().expect("a path that is text").to_owned();
        let disk = Arc::new(disk);
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.insert(directory.clone(), Arc::clone(&disk));
        Self { directory, disk }
    }
}

impl Drop for SimPlace {
    fn drop(&mut self) {
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.remove(&self.directory);
    }
}

/// Opens a database on the simulated disk of its directory.
pub(super) fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), VFS)?;
    // Otherwise, a short history would never reach the main file.
    connection.pragma_update(None, "wal_autocheckpoint", 12)?;
    Ok(connection)
}

/// What SQLite keeps of an open file.
#[repr(C)]
struct SimHandle {
    base: ffi::sqlite3_file,
    open: *mut SimOpen,
}

struct SimOpen {
    disk: Arc<SimDisk>,
    name: String,
    user: u64,
    is_temporary: bool,
    /// Whether its directory must be synchronised with it, because it may be new.
    may_be_new: AtomicBool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(is_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn register() {
    // SAFETY: the default functions exist, and what is registered stays as long as the process. Its
    // clock, its random numbers and its full paths are those of the default.
    let registered = unsafe {
        let default = ffi::sqlite3_vfs_find(ptr::null());
        let own = ffi::sqlite3_vfs {
            szOsFile: c_int::try_from(size_of::<SimHandle>()).expect("a small size"),
            pNext: ptr::null_mut(),
            zName: VFS.as_ptr(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            ..*default
        };
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(own)), 0)
    };
    assert_eq!(registered, ffi::SQLITE_OK);
}

fn disk_of(path: &str) -> Option<Arc<SimDisk>> {
    let directory = Path::new(path).parent()?.to_str()?;
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.get(directory).cloned()
}

fn code(result: Result<(), SimCode>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

/// Returns what was opened.
///
/// # Safety
/// `file` was opened by `open`, and is not closed.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a SimOpen {
    // SAFETY: `open` has put a pointer there, which `close` alone takes away.
    unsafe { &*(*file.cast::<SimHandle>()).open }
}

/// Returns a name as text, or nothing.
///
/// # Safety
/// It is null or a C string.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    // SAFETY: as the caller says.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    name.and_then(|name| name.to_str().ok())
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    granted: *mut c_int,
) -> c_int {
    static USERS: AtomicU64 = AtomicU64::new(1);
    let handle = file.cast::<SimHandle>();
    // SAFETY: SQLite gives us as much room as we have asked for; without methods, it closes nothing.
    unsafe { (*handle).base.pMethods = ptr::null() };
    let user = USERS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: SQLite's names are C strings; a temporary file has none.
    let name = unsafe { text(name) };
    let is_temporary = name.is_none();
    let disk = match name {
        Some(name) => disk_of(name),
        None => Some(Arc::new(SimDisk::new(0))),
    };
    let Some(disk) = disk else {
        return ffi::SQLITE_CANTOPEN;
    };
    let name = name.unwrap_or("temporary").to_owned();
    match disk.open(&name, flags & ffi::SQLITE_OPEN_CREATE != 0) {
        Ok(true) => {}
        Ok(false) => return ffi::SQLITE_CANTOPEN,
        Err(error) => return error,
    }
    let open = Box::new(SimOpen {
        disk,
        name,
        user,
        is_temporary,
        may_be_new: AtomicBool::new(flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & JOURNALS != 0),
    });
    // SAFETY: as above; `granted` may be null.
    unsafe {
        (*handle).open = Box::into_raw(open);
        (*handle).base.pMethods = &raw const METHODS;
        if let Some(granted) = granted.as_mut() {
            *granted = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, lasts: c_int) -> c_int {
    // SAFETY: SQLite's names are C strings.
    let name = unsafe { text(name) }.unwrap_or_default();
    match disk_of(name) {
        Some(disk) => code(disk.remove(name, lasts != 0)),
        None => ffi::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's names are C strings, and `found` is its own.
    unsafe {
        let name = text(name).unwrap_or_default();
        *found = disk_of(name).is_some_and(|disk| disk.exists(name)).into();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and does not use it after that.
    let open = unsafe { Box::from_raw((*file.cast::<SimHandle>()).open) };
    if !open.is_temporary {
        // The file may have been removed.
        let _ = open.disk.lock(&open.name, open.user, ffi::SQLITE_LOCK_NONE);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives us as much room as it asks for.
    let (open, bytes) = unsafe {
        let count = usize::try_from(count).unwrap_or_default();
        let bytes = std::slice::from_raw_parts_mut(into.cast::<u8>(), count);
        (opened(file), bytes)
    };
    bytes.fill(0);
    match open.disk.read(&open.name, position(at), bytes) {
        Ok(found) if found == bytes.len() => ffi::SQLITE_OK,
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(error) => error,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives us as many bytes as it says.
    let (open, bytes) = unsafe {
        let count = usize::try_from(count).unwrap_or_default();
        (
            opened(file),
            std::slice::from_raw_parts(from.cast::<u8>(), count),
        )
    };
    code(open.disk.write(&open.name, position(at), bytes))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite has opened it.
    let open = unsafe { opened(file) };
    code(open.disk.truncate(&open.name, position(size)))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite has opened it.
    let open = unsafe { opened(file) };
    let synced = open.disk.sync(&open.name);
    if synced.is_ok() && open.may_be_new.swap(false, Ordering::Relaxed) {
        open.disk.sync_directory();
    }
    code(synced)
}

unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite has opened it, and `size` is its own.
    let open = unsafe { opened(file) };
    code(open.disk.size(&open.name).map(|found| unsafe {
        *size = i64::try_from(found).unwrap_or(i64::MAX);
    }))
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite has opened it.
    let open = unsafe { opened(file) };
    code(open.disk.lock(&open.name, open.user, level))
}

unsafe extern "C" fn is_reserved(file: *mut ffi::sqlite3_file, found: *mut c_int) -> c_int {
    // SAFETY: SQLite has opened it, and `found` is its own.
    let open = unsafe { opened(file) };
    code(open.disk.is_reserved(&open.name).map(|is_it| unsafe {
        *found = is_it.into();
    }))
}

unsafe extern "C" fn control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

/// None of the promises that a good disk could make.
unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    0
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    size: c_int,
    extends: c_int,
    found: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite has opened it, and `found` is its own.
    let open = unsafe { opened(file) };
    let (index, size) = (position(index.into()), position(size.into()));
    let piece = open.disk.shared(&open.name, index, size, extends != 0);
    code(piece.map(|piece| unsafe {
        *found = piece.unwrap_or(ptr::null_mut()).cast();
    }))
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite has opened it.
    let open = unsafe { opened(file) };
    let slots = position(first.into())..position((first + count).into());
    code(open.disk.lock_shared(&open.name, open.user, slots, flags))
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

/// The memory stays until the power fails: others may use it.
unsafe extern "C" fn shm_unmap(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

fn position(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

#[test]
fn sqlite_runs_on_it_and_survives_a_power_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = SimPlace::new(directory.path(), SimDisk::new(1));
    let path = directory.path().join("x.db");
    let first = connect(&path).expect("opened");
    let mode: String = first
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .expect("asked");
    assert_eq!(mode, "wal");
    first
        .execute_batch("PRAGMA synchronous = FULL; CREATE TABLE t (n)")
        .expect("made");
    let second = connect(&path).expect("opened");
    for number in 0..50 {
        let writer = if number % 2 == 0 { &first } else { &second };
        writer
            .execute("INSERT INTO t VALUES (?1)", [number])
            .expect("inserted");
    }
    first.execute_batch("BEGIN IMMEDIATE").expect("begun");
    second
        .execute_batch("BEGIN IMMEDIATE")
        .expect_err("the other one writes");
    first
        .execute("INSERT INTO t VALUES (99)", [])
        .expect("inserted");
    place.disk.plan(0, super::disk_tests::SimFault::Power);
    first.execute_batch("COMMIT").expect_err("no power");
    drop((first, second));
    place.disk.restart();
    assert!(!path.exists(), "nothing is on a real disk");
    let again = connect(&path).expect("opened");
    let count = "SELECT count(*) FROM t WHERE n < 99";
    let count: i64 = again
        .query_row(count, [], |row| row.get(0))
        .expect("counted");
    assert_eq!(count, 50);
}
