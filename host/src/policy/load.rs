//! From bytes to a compiled policy, or to one line that says why not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::call::{PolicyPre, State, link};
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
        /// As it was given.
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
    #[error("the policy {origin} cannot be read")]
    Unreadable {
        /// What was to be loaded.
        origin: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is larger than a policy may be.
    #[error("the policy {origin} is larger than {} MiB", limit >> 20)]
    TooBig {
        /// What was to be loaded.
        origin: String,
        /// What it may be, in bytes.
        limit: u64,
    },
    /// It is something else than WebAssembly.
    #[error(
        "{origin} is not WebAssembly: a policy is a component or a core module, in binary form"
    )]
    NotWasm {
        /// What was to be loaded.
        origin: String,
    },
    /// It is native code, which would not be held by any limit.
    #[error(
        "{origin} is precompiled native code, which is never run: give the `.wasm` it was made of"
    )]
    Precompiled {
        /// What was to be loaded.
        origin: String,
    },
    /// It is a core module that does not say what it imports and exports.
    #[error(
        "{origin} is a core module without embedded WIT: build it with wit-bindgen for the world \
         `assigner:policy/policy`, or make it a component with `wasm-tools component new`"
    )]
    NoWit {
        /// What was to be loaded.
        origin: String,
    },
    /// It is not whole, or not valid.
    #[error("{origin} is damaged or only half written: {why}")]
    Broken {
        /// What was to be loaded.
        origin: String,
        /// What the parser or compiler says, in a line.
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
    /// It says something about its settings that is not a JSON object.
    #[error("{origin} gives a `default-config` that is not a JSON object")]
    DefaultConfig {
        /// What was to be loaded.
        origin: String,
    },
    /// It does not take the user's settings.
    #[error("{origin} refuses its settings: {message}")]
    Settings {
        /// What was to be loaded.
        origin: String,
        /// What the policy said, in a line.
        message: String,
    },
    /// It failed when it was tried.
    #[error("{origin} could not {doing}: it {failure}")]
    Failed {
        /// What was to be loaded.
        origin: String,
        /// What it was asked to do.
        doing: &'static str,
        /// What became of it.
        failure: Failure,
    },
    /// This machine cannot run WebAssembly.
    #[error("policies cannot be run on this machine: {why}")]
    Engine {
        /// What the runtime says, in a line.
        why: String,
    },
}

/// What the host offers, as the start of a name; everything of WASI but HTTP, and all of it empty.
const OFFERED: [&str; 8] = [
    "assigner:policy/logging@0.1.",
    "assigner:policy/types@0.1.",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];
const OFFERED_IN_WORDS: &str = "`assigner:policy/logging@0.1.0` and WASI 0.2 (that gives nothing)";
const NEEDED: &str = "assigner:policy/matching@0.1.";

/// Compiles a component, or a core module with embedded WIT, and links it.
///
/// How long that takes depends on the file: about a millisecond a kilobyte.
pub(super) fn compile(
    origin: &str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(Engine, PolicyPre<State>), LoadError> {
    let broken = |error: String| LoadError::Broken {
        origin: origin.to_owned(),
        why: check::line(&error, LONGEST_CAUSE),
    };
    let component = match Encoding::of(bytes) {
        Encoding::Component => None,
        Encoding::CoreModule => Some(componentize(origin, bytes)?),
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

    let engine = limits::engine(limits).map_err(|error| LoadError::Engine {
        why: check::line(&format!("{error:#}"), LONGEST_CAUSE),
    })?;
    let component = Component::from_binary(&engine, bytes)
        .map_err(|error| broken(error.root_cause().to_string()))?;
    let pre = connect(&engine, &component).map_err(|why| LoadError::OtherWorld {
        origin: origin.to_owned(),
        why: check::line(&why, LONGEST_CAUSE),
    })?;
    Ok((engine, pre))
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

fn componentize(origin: &str, module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let broken = |why: String| LoadError::Broken {
        origin: origin.to_owned(),
        why: check::line(&why, LONGEST_CAUSE),
    };
    let encode = || {
        let (described, _) = wit_component::metadata::decode(module)?;
        if described.is_none() {
            return Ok(None);
        }
        let mut encoder = wit_component::ComponentEncoder::default();
        encoder.module(module)?.validate(true).encode().map(Some)
    };
    // The encoder is made for what compilers give it; whatever else makes it panic is not valid.
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(Some(component))) => Ok(component),
        Ok(Ok(None)) => Err(LoadError::NoWit {
            origin: origin.to_owned(),
        }),
        Ok(Err(error)) => Err(broken(format!("{error:#}"))),
        Err(_) => Err(broken("it cannot be made a component".to_owned())),
    }
}

/// Links a component, or says what it needs that is not there, or lacks that is needed.
fn connect(engine: &Engine, component: &Component) -> Result<PolicyPre<State>, String> {
    let of_component = component.component_type();
    let imports: Vec<&str> = of_component.imports(engine).map(|(name, _)| name).collect();
    let exports: Vec<&str> = of_component.exports(engine).map(|(name, _)| name).collect();

    let missing: Vec<&str> = imports
        .into_iter()
        .filter(|name| !OFFERED.iter().any(|offered| name.starts_with(offered)))
        .collect();
    if !missing.is_empty() {
        let missing = listed(&missing);
        return Err(format!(
            "it needs {missing}, and this host has {OFFERED_IN_WORDS}"
        ));
    }
    if !exports.iter().any(|name| name.starts_with(NEEDED)) {
        let exports = listed(&exports);
        return Err(format!("this host needs `{NEEDED}0`, and it has {exports}"));
    }
    let mut linker = Linker::new(engine);
    link(&mut linker)
        .and_then(|()| linker.instantiate_pre(component))
        .and_then(PolicyPre::new)
        .map_err(|error| {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            causes.join(": ")
        })
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
