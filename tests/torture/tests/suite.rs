//! What the program refuses. It is run by the end-to-end tests.

use std::process::Command;

#[test]
fn a_time_that_is_none_is_refused() {
    for minutes in ["", "0", "-1", "1441", "nan", "soon"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assigner-torture"));
        let output = command.arg(format!("--minutes={minutes}")).output();
        let output = output.expect("the program");
        assert_eq!(output.status.code(), Some(2), "{minutes}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("a number of minutes, up to 1440"), "{said}");
    }
}
