//! From bytes to a compiled policy, or to one line that says why not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, Engine};

use super::call::{InstanceState, PolicyPre, link};
use super::check;
use super::limits::{self, Failure, LONGEST_CAUSE, Limits};

/// Why a policy was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no policy of this name.
    #[error(
        "no policy is called {name}: give a path, the name of a file in {directory}, or `default`"
    )]
    Unknown {
        /// The name as it was given.
        name: String,
        /// Where policies are looked for.
        directory: String,
    },
    /// There is no such file.
    #[error("the policy {origin} does not exist")]
    Missing {
        /// What was to be loaded.
        origin: String,
    },
    /// It is a directory.
    #[error("the policy {origin} is a directory: name the `.wasm` file in it")]
    Directory {
        /// What was to be loaded.
        origin: String,
    },
    /// It is a pipe, a device or a socket.
    #[error("the policy {origin} is not a regular file")]
    NotAFile {
        /// What was to be loaded.
        origin: String,
    },
    /// It cannot be read.
    #[error("the policy {origin} cannot be read: {source}")]
    Unreadable {
        /// What was to be loaded.
        origin: String,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// It is larger than a policy may be.
    #[error("the policy {origin} is larger than {} MiB", limit >> 20)]
    TooBig {
        /// What was to be loaded.
        origin: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// It is something other than WebAssembly.
    #[error(
        "{origin} is not WebAssembly: a policy is a component or a core module, in binary form"
    )]
    NotWasm {
        /// What was to be loaded.
        origin: String,
    },
    /// It is native code, which no limit would apply to.
    #[error(
        "{origin} is precompiled native code, which is never run: give the `.wasm` that it was made from"
    )]
    Precompiled {
        /// What was to be loaded.
        origin: String,
    },
    /// It is a core module that does not declare its imports and exports.
    #[error(
        "{origin} is a core module without embedded WIT: build it with wit-bindgen for the world \
         `assigner:policy/policy`, or make it a component with `wasm-tools component new`"
    )]
    NoWit {
        /// What was to be loaded.
        origin: String,
    },
    /// It is incomplete or invalid.
    #[error("{origin} is damaged or only half written: {why}")]
    Broken {
        /// What was to be loaded.
        origin: String,
        /// What the parser or compiler says, in one line.
        why: String,
    },
    /// It is a component, but not one of our world.
    #[error("{origin} is not a policy for this version: {why}")]
    OtherWorld {
        /// What was to be loaded.
        origin: String,
        /// What is missing on which side.
        why: String,
    },
    /// Its default settings are not a JSON object.
    #[error("{origin} gives a `default-config` that is not a JSON object")]
    DefaultConfig {
        /// What was to be loaded.
        origin: String,
    },
    /// It does not accept the user's settings.
    #[error("{origin} refuses its settings: {message}")]
    Settings {
        /// What was to be loaded.
        origin: String,
        /// What the policy said, in one line.
        message: String,
    },
    /// It failed when it was tried.
    #[error("{origin} could not {doing}: it {failure}")]
    Failed {
        /// What was to be loaded.
        origin: String,
        /// What it was asked to do.
        doing: &'static str,
        /// How it failed.
        failure: Failure,
    },
    /// This machine cannot run WebAssembly.
    #[error("policies cannot be run on this machine: {why}")]
    Engine {
        /// What the runtime says, in one line.
        why: String,
    },
}

impl LoadError {
    /// Returns the error for a policy that failed while it was loaded and `doing` something.
    pub(super) fn of(origin: &str, doing: &'static str, failure: Failure) -> Self {
        let origin = origin.to_owned();
        match failure {
            Failure::OtherTypes { why } => Self::OtherWorld { origin, why },
            Failure::Refused { message } => Self::Settings { origin, message },
            failure => Self::Failed {
                origin,
                doing,
                failure,
            },
        }
    }
}

/// What the host offers, as the start of a name: all of WASI except HTTP, and all of it empty.
const OFFERED: [&str; 8] = [
    "assigner:policy/logging@0.1.",
    TYPES,
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];
const OFFERED_IN_WORDS: &str = "`assigner:policy/logging@0.1.0` and WASI 0.2 (that gives nothing)";
/// The adapter from WASI preview 1 to the WASI that this host has.
const PREVIEW1: (&str, &[u8]) = (
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
);
const TYPES: &str = "assigner:policy/types@0.1.";
const NEEDED: &str = "assigner:policy/matching@0.1.";

/// What a policy's file consists of, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anatomy {
    /// `component` or `core module`.
    pub encoding: &'static str,
    /// The version of the contract that it was built against.
    pub contract: String,
    /// What it needs from the host, sorted.
    pub imports: Vec<String>,
    /// What it offers, sorted.
    pub exports: Vec<String>,
}

/// A component, compiled and linked.
pub(super) struct Compiled {
    pub(super) engine: Engine,
    pub(super) pre: PolicyPre<InstanceState>,
    pub(super) anatomy: Anatomy,
}

/// Compiles a component, or a core module with embedded WIT, and links it.
///
/// How long that takes depends on the file: about a millisecond per kilobyte if it is not in the
/// cache.
pub(super) fn compile(
    origin: &str,
    bytes: &[u8],
    limits: &Limits,
    cache: Option<Cache>,
) -> Result<Compiled, LoadError> {
    let broken = |error: String| LoadError::Broken {
        origin: origin.to_owned(),
        why: check::line(&error, LONGEST_CAUSE),
    };
    let (encoding, component) = match Encoding::of(bytes) {
        Encoding::Component => ("component", None),
        Encoding::CoreModule => ("core module", Some(encode(origin, bytes)?)),
        Encoding::Precompiled => {
            return Err(LoadError::Precompiled {
                origin: origin.to_owned(),
            });
        }
        Encoding::Unknown => {
            return Err(LoadError::NotWasm {
                origin: origin.to_owned(),
            });
        }
    };
    let bytes = component.as_deref().unwrap_or(bytes);

    let engine = limits::engine(limits, cache).map_err(|error| LoadError::Engine {
        why: check::line(&format!("{error:#}"), LONGEST_CAUSE),
    })?;
    // A file that crashes the compiler must not end this process.
    let component = catch_unwind(AssertUnwindSafe(|| Component::from_binary(&engine, bytes)))
        .map_err(|_| broken("it cannot be compiled".to_owned()))?
        .map_err(|error| broken(error.root_cause().to_string()))?;
    let other = |why: String| LoadError::OtherWorld {
        origin: origin.to_owned(),
        why: check::line(&why, LONGEST_CAUSE),
    };
    let anatomy = anatomy(encoding, &engine, &component).map_err(other)?;
    let pre = connect(&engine, &component).map_err(other)?;
    Ok(Compiled {
        engine,
        pre,
        anatomy,
    })
}

enum Encoding {
    Component,
    CoreModule,
    Precompiled,
    Unknown,
}

impl Encoding {
    fn of(bytes: &[u8]) -> Self {
        if Engine::detect_precompiled(bytes).is_some() {
            return Self::Precompiled;
        }
        // The magic number, the version, and the layer: 0 for core modules, 1 for components.
        match bytes.split_first_chunk::<8>() {
            Some(([0, b'a', b's', b'm', _, _, 1, 0], _)) => Self::Component,
            Some(([0, b'a', b's', b'm', _, _, 0, 0], _)) => Self::CoreModule,
            _ => Self::Unknown,
        }
    }
}

/// Returns the component in a file, or the component made from a core module with embedded WIT.
///
/// # Errors
///
/// The file is something else, has no embedded WIT, or is not valid.
pub fn componentize(origin: &str, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    match Encoding::of(bytes) {
        Encoding::CoreModule => encode(origin, bytes),
        _ => Ok(bytes.to_vec()),
    }
}

fn encode(origin: &str, module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let broken = |why: String| LoadError::Broken {
        origin: origin.to_owned(),
        why: check::line(&why, LONGEST_CAUSE),
    };
    let encode = || {
        let described = wit_component::metadata::decode(module).map_err(|error| error.to_string());
        if described?.0.is_none() {
            return Ok(None);
        }
        // Compilers of C and others link this in if a program uses their standard library. The
        // adapter turns it into the WASI that is empty here.
        encode_with(module, None)
            .or_else(|why| {
                let adapted = encode_with(module, Some(PREVIEW1));
                // If the module needs the adapter, the error with it is the one that matters.
                let needed = why.contains(PREVIEW1.0);
                adapted.map_err(|other| if needed { other } else { why })
            })
            .map(Some)
    };
    // The encoder expects the output of compilers; anything else that makes it panic is not valid.
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(Some(component))) => Ok(component),
        Ok(Ok(None)) => Err(LoadError::NoWit {
            origin: origin.to_owned(),
        }),
        Ok(Err(why)) => Err(broken(why)),
        Err(_) => Err(broken("it cannot be made a component".to_owned())),
    }
}

fn encode_with(module: &[u8], adapter: Option<(&str, &[u8])>) -> Result<Vec<u8>, String> {
    let encode = || {
        let mut encoder = wit_component::ComponentEncoder::default().module(module)?;
        if let Some((name, bytes)) = adapter {
            encoder = encoder.adapter(name, bytes)?;
        }
        encoder.validate(true).encode()
    };
    encode().map_err(|error| format!("{error:#}"))
}

/// Examines what a component needs and offers, or says which of its imports do not exist or which
/// required exports are missing.
fn anatomy(
    encoding: &'static str,
    engine: &Engine,
    component: &Component,
) -> Result<Anatomy, String> {
    let of_component = component.component_type();
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    let imports = of_component.imports(engine);
    // Every policy imports the contract's types, which contain nothing but types.
    let imports = imports.filter(|(name, _)| !name.starts_with(TYPES));
    let imports = sorted(imports.map(|(name, _)| name.to_owned()).collect());
    let exports = of_component.exports(engine);
    let exports = sorted(exports.map(|(name, _)| name.to_owned()).collect());

    let is_missing = |name: &&String| !OFFERED.iter().any(|offered| name.starts_with(offered));
    let missing: Vec<&String> = imports.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        let missing = listed(&missing);
        return Err(format!(
            "it needs {missing}, and this host has {OFFERED_IN_WORDS}"
        ));
    }
    let matching = exports.iter().find(|name| name.starts_with(NEEDED));
    let version = matching.and_then(|name| name.split_once('@'));
    let Some((_, contract)) = version else {
        let exports = listed(&exports);
        return Err(format!("this host needs `{NEEDED}0`, and it has {exports}"));
    };
    Ok(Anatomy {
        encoding,
        contract: contract.to_owned(),
        imports,
        exports,
    })
}

fn connect(engine: &Engine, component: &Component) -> Result<PolicyPre<InstanceState>, String> {
    let mut linker = Linker::new(engine);
    link(&mut linker)
        .and_then(|()| linker.instantiate_pre(component))
        .and_then(PolicyPre::new)
        .map_err(|error| {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            causes.join(": ")
        })
}

fn listed(names: &[impl AsRef<str>]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let quoted = names.iter().map(|name| format!("`{}`", name.as_ref()));
    let quoted: Vec<String> = quoted.collect();
    quoted.join(", ")
}
