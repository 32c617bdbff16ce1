//! Files that are loaded: policies, and what is refused in one line because it is none.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn what_is_no_policy_is_refused_in_one_clear_line() {
    let damaged = &EMBEDDED[..EMBEDDED.len() / 2];
    let core = wat::parse_str("(module)").expect("it parses");
    let elf = {
        let engine = wasmtime::Engine::default();
        engine.precompile_component(EMBEDDED).expect("it compiles")
    };
    for (bytes, expected) in [
        (
            &b""[..],
            "`test.wasm` is not WebAssembly: a policy is a component or a core module, in binary form",
        ),
        (
            b"(module)",
            "`test.wasm` is not WebAssembly: a policy is a component or a core module, in binary form",
        ),
        (
            b"\0asm\x01\0\0",
            "`test.wasm` is not WebAssembly: a policy is a component or a core module, in binary form",
        ),
        (
            &core,
            "`test.wasm` is a core module without embedded WIT: build it with wit-bindgen for the world `assigner:policy/policy`, or make it a component with `wasm-tools component new`",
        ),
        (
            &elf,
            "`test.wasm` is precompiled native code, which is never run: give the `.wasm` that it was made from",
        ),
        (damaged, "`test.wasm` is damaged or only half written: "),
        (
            b"\0asm\x0d\0\x01\0\xff\xff",
            "`test.wasm` is damaged or only half written: ",
        ),
        (
            b"\0asm\x01\0\0\0\xff\xff",
            "`test.wasm` is damaged or only half written: ",
        ),
        (
            b"\0asm\x0d\0\x01\0",
            "`test.wasm` is not a policy for this version: this host needs `assigner:policy/matching@0.1.0`, and it has nothing",
        ),
    ] {
        let error = refused(bytes).to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains(|c: char| c.is_control()), "{error:?}");
    }
}

#[test]
fn a_component_cut_anywhere_is_refused() {
    let step = EMBEDDED.len() / 40;
    for length in (0..EMBEDDED.len() - 1).step_by(step) {
        refused(&EMBEDDED[..length]);
    }
}

#[test]
fn a_component_of_another_world_is_told_what_is_missing() {
    let greeting = "(module
        (import \"test:other/names@1.0.0\" \"name\" (func (param i32)))
        (memory (export \"memory\") 1)
        (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 8))
        (func (export \"greet\")))";
    let wit = "
        package test:other@1.0.0;
        interface names { name: func() -> string; }
        world policy { import names; export greet: func(); }";
    assert_eq!(
        refused(&embed(greeting, wit)).to_string(),
        "`test.wasm` is not a policy for this version: it needs `test:other/names@1.0.0`, and this \
         host has `assigner:policy/logging@0.1.0` and WASI 0.2 (that gives nothing)"
    );

    let silent = "(module (func (export \"greet\")))";
    let wit = "package test:other; world policy { export greet: func(); }";
    assert_eq!(
        refused(&embed(silent, wit)).to_string(),
        "`test.wasm` is not a policy for this version: this host needs \
         `assigner:policy/matching@0.1.0`, and it has `greet`"
    );

    let older = WIT.replace("wants-busy: bool,", "");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("older.wit", &older).expect("it parses");
    let world = resolve
        .select_world(&[package], Some("policy"))
        .expect("it is there");
    let mut module = wat::parse_str(module("", "(i32.const 1536)")).expect("it parses");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("it can be embedded");
    let error = refused(&module).to_string();
    assert!(
        error.starts_with("`test.wasm` is not a policy for this version: "),
        "{error}"
    );
}

#[test]
fn a_policy_that_fails_when_it_is_tried_is_refused() {
    let good = module("", "(i32.const 1536)");
    let describes = good.replace(
        "(result i32)\n                (i32.const 1024)",
        "(result i32) (unreachable)",
    );
    assert_ne!(describes, good);
    let error = refused(&embed(&describes, WIT)).to_string();
    assert!(
        error.starts_with("`test.wasm` could not describe itself: it stopped with an error: "),
        "{error}"
    );

    let config = good.replace("sabotage1{}boom", "sabotage1[]boom");
    assert_ne!(config, good);
    assert_eq!(
        refused(&embed(&config, WIT)).to_string(),
        "`test.wasm` gives a `default-config` that is not a JSON object"
    );

    let configures = good.replace(
        "(param i32 i32) (result i32)\n                (i32.const 8)",
        "(param i32 i32) (result i32) (unreachable)",
    );
    assert_ne!(configures, good);
    let error = refused(&embed(&configures, WIT)).to_string();
    assert!(
        error.starts_with(
            "`test.wasm` could not decide on a round of two tasks: it stopped with an error: "
        ),
        "{error}"
    );

    let wrong = good.replace(
        "(then (return (i32.const 1536)))",
        "(then (return (i32.const 8)))",
    );
    assert_ne!(wrong, good);
    assert_eq!(
        refused(&embed(&wrong, WIT)).to_string(),
        "`test.wasm` could not decide on a round of two tasks: it gave a forbidden answer: 0 \
         decisions for 2 tasks"
    );
}

/// C compilers produce such modules for programs that use their standard library.
#[test]
fn a_core_module_with_the_wasi_of_before_components_loads() {
    let imports = r#"
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
    "#;
    let assign = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 4096)))
                  (i32.const 1536)";
    let policy = loaded(&embed(&module(imports, assign), WIT));
    assert!(policy.decide(&question()).is_ok());
    let imports = &policy.anatomy().imports;
    assert!(
        imports
            .iter()
            .any(|name| name.starts_with("wasi:cli/stdout@")),
        "{imports:?}"
    );
}

#[test]
fn a_core_module_and_its_component_decide_the_same() {
    let module = saboteur("(i32.const 1536)");
    let component = wit_component::ComponentEncoder::default()
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .expect("it can be encoded");
    let (module, component) = (loaded(&module), loaded(&component));
    assert_eq!(module.decide(&question()), component.decide(&question()));
    assert_eq!(module.id().name, "sabotage");
    assert_ne!(module.id().sha256, component.id().sha256);
}

#[test]
fn the_embedded_policy_is_known_by_the_hash_of_its_file() {
    assert_eq!(DEFAULT.id().name, "default");
    let noted = include_str!("../../../../policies/default/default.wasm.toml");
    let noted: toml::Table = toml::from_str(noted).expect("it is TOML");
    assert_eq!(noted["sha256"].as_str(), Some(&*DEFAULT.id().sha256));
    assert_eq!(
        noted["size"].as_integer(),
        i64::try_from(EMBEDDED.len()).ok()
    );
}

#[test]
fn the_embedded_policy_asks_for_nothing_but_the_log() {
    let engine = wasmtime::Engine::default();
    let component = wasmtime::component::Component::from_binary(&engine, EMBEDDED);
    let of_component = component.expect("it compiles").component_type();
    let mut imports: Vec<_> = of_component
        .imports(&engine)
        .map(|(name, _)| name)
        .collect();
    imports.sort_unstable();
    let expected = [
        "assigner:policy/logging@0.1.0",
        "assigner:policy/types@0.1.0",
    ];
    assert_eq!(imports, expected);
}

#[test]
fn files_are_read_whole_or_refused() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("policy.wasm");
    let read = |path: &Path, file: Option<u64>| {
        let overrides = Overrides {
            file,
            load_time: Some(limits().load_time),
            ..Overrides::default()
        };
        let source = PolicySource::File(path.to_owned());
        let policy = Loader::new(overrides).load(&source, &Value::Null);
        policy.map(|policy| policy.id().name.clone())
    };
    assert!(matches!(read(&path, None), Err(LoadError::Missing { .. })));
    assert!(matches!(
        read(directory.path(), None),
        Err(LoadError::Directory { .. })
    ));
    assert!(matches!(
        read(Path::new("/dev/zero"), None),
        Err(LoadError::NotAFile { .. })
    ));

    fs::write(&path, EMBEDDED).expect("it can be written");
    assert_eq!(read(&path, None).ok().as_deref(), Some("default"));
    let exactly = EMBEDDED.len() as u64;
    assert_eq!(read(&path, Some(exactly)).ok().as_deref(), Some("default"));
    assert!(matches!(
        read(&path, Some(exactly - 1)),
        Err(LoadError::TooBig { .. })
    ));
}

#[test]
fn a_name_is_looked_for_in_the_directory_of_policies() {
    let directory = tempfile::tempdir().expect("there is room");
    let named = |name: &str| resolve(name, directory.path());
    let file = |name: &str| PolicySource::File(directory.path().join(name));
    let is = |name: &str, expected: PolicySource| match named(name) {
        Ok(found) => assert_eq!(found, expected, "{name}"),
        Err(error) => panic!("{error}"),
    };
    is("default", PolicySource::Embedded);
    is("default.wasm", PolicySource::Embedded);
    is(
        "./default.wasm",
        PolicySource::File("./default.wasm".into()),
    );
    is("/nowhere/x", PolicySource::File("/nowhere/x".into()));
    for name in ["mine", "", "..", "mine\u{1b}[2J"] {
        let error = named(name).expect_err("there is none").to_string();
        assert!(error.starts_with("no policy is called `"), "{error}");
        assert!(!error.contains(|c: char| c.is_control()), "{error:?}");
    }

    fs::write(directory.path().join("mine.wasm"), "").expect("it can be written");
    is("mine", file("mine.wasm"));
    is("mine.wasm", file("mine.wasm"));
    fs::write(directory.path().join("default.wasm"), "").expect("it can be written");
    is("default", file("default.wasm"));
}
