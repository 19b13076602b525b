//! How tools are kept: installed once, again when the pin or the folder changes, never half.

use super::*;

const INSTALL: &str = "echo installed >> ../count; echo > program";

struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn keep(&self, identity: &str, script: &str) -> anyhow::Result<()> {
        self.tools().keep(&Recipe::shell(identity, script))
    }

    fn tools(&self) -> ToolBox {
        ToolBox::at(self.folder.path(), &self.folder.path().join("tools")).unwrap()
    }

    fn installations(&self) -> usize {
        fs::read_to_string(self.folder.path().join("tools/count")).map_or(0, |text| text.lines().count())
    }
}

#[test]
fn a_tool_is_installed_once() {
    let sandbox = Sandbox::new();
    sandbox.keep("1.0", INSTALL).unwrap();
    sandbox.keep("1.0", INSTALL).unwrap();
    assert_eq!(sandbox.installations(), 1);
    assert!(sandbox.folder.path().join("tools/bin/sample").exists(), "its program is linked");
}

#[test]
fn another_pin_is_installed_anew_in_an_empty_folder() {
    let sandbox = Sandbox::new();
    sandbox.keep("1.0", "echo > program; echo > left-over").unwrap();
    sandbox.keep("1.1", INSTALL).unwrap();
    assert_eq!(sandbox.installations(), 1);
    assert!(!sandbox.folder.path().join("tools/sample/left-over").exists());
}

#[test]
fn a_failed_installation_names_the_line_to_type_and_is_tried_again() {
    let sandbox = Sandbox::new();
    let error = sandbox.keep("1.0", "echo > program; exit 7").unwrap_err();
    assert!(format!("{error:#}").contains("type: echo > program; exit 7"), "{error:#}");
    sandbox.keep("1.0", INSTALL).unwrap();
    assert_eq!(sandbox.installations(), 1);
}

#[test]
fn an_installation_without_its_program_does_not_count() {
    let sandbox = Sandbox::new();
    sandbox.keep("1.0", "true").unwrap_err();
    sandbox.keep("1.0", INSTALL).unwrap();
    fs::remove_file(sandbox.folder.path().join("tools/sample/program")).unwrap();
    sandbox.keep("1.0", INSTALL).unwrap();
    assert_eq!(sandbox.installations(), 2);
}

#[test]
fn a_step_finds_the_tools() {
    let sandbox = Sandbox::new();
    let tools = sandbox.tools();
    let output =
        tools.prepare(Command::new("sh").args(["-c", "echo $HOLDFAST_TOOLS_DIR; echo $PATH"])).output().unwrap();
    let folder = sandbox.folder.path().join("tools");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("{0}\n{0}/bin:", folder.display())), "{text}");
}
