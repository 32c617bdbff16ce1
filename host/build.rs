//! Says which files outside of the package are in the binary: the templates of policies, and the
//! crate for their authors.

fn main() {
    for directory in ["templates", "sdk/src"] {
        println!("cargo::rerun-if-changed=../policies/{directory}");
    }
}
