//! Turns a core module with embedded WIT into a component: `componentize CORE COMPONENT`.

use std::error::Error;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<_> = env::args_os().skip(1).collect();
    let [core, component] = paths.as_slice() else {
        return Err("usage: componentize CORE COMPONENT".into());
    };
    let bytes = wit_component::ComponentEncoder::default()
        .module(&fs::read(core)?)?
        .validate(true)
        .encode()?;
    fs::write(component, bytes)?;
    Ok(())
}
