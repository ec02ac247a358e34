//! `deploy/CLIENTS.md`, word for word: what it says to type is typed, and what it says comes back comes back.
//!
//! The one thing that is another is the number of the port, so that the test needs none that somebody else may have.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use drawbridge_tests::{
    node,
    page::{self, Block},
    ports::free_ports,
    process::{binary, succeed},
    python,
};

use crate::mock::Serving;

/// The length of an exchange's id.
const ID: usize = 36;
/// The port of the mock, as the page has it.
const PORT: &str = "8944";

/// Puts a port that is free in the place of the page's, which stands in it as nothing else.
fn with_free_port(page: &str) -> String {
    let shown = format!(":{PORT}");
    assert!(page.contains(&shown), "the page has another port than {PORT}");
    assert_eq!(page.matches(PORT).count(), page.matches(&shown).count(), "{PORT} is something else than a port");
    let longer = |rest: &str| rest.starts_with(|next: char| next.is_ascii_digit());
    assert!(!page.split(&shown).skip(1).any(longer), "{PORT} begins another number");
    let [address] = free_ports();
    page.replace(&shown, &format!(":{}", address.port()))
}

/// Runs a block as a shell does, and returns what it printed.
fn typed(block: &Block, folder: &Path) -> String {
    let output = shell(block, folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{}\n{out}\n{err}", block.text, output.status);
    out.into_owned()
}

fn shell(block: &Block, folder: &Path) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = binary().parent().unwrap().to_owned();
    let path = std::env::join_paths([own].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &block.text]).current_dir(folder).env("PATH", path).env("NO_COLOR", "1");
    command.env("no_proxy", "localhost").stdin(Stdio::null());
    command
}

/// Splits the line that names the exchange off: its id, and everything else.
fn told(said: &str) -> (String, Vec<String>) {
    let (named, others): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with("exchange "));
    assert_eq!(named.len(), 1, "{said}");
    (named[0]["exchange ".len()..].to_owned(), others.into_iter().map(str::to_owned).collect())
}

#[test]
fn the_page_for_clients_is_right_word_for_word() {
    let page = fs::read_to_string(python::repository().join("deploy/CLIENTS.md")).unwrap();
    let blocks = page::blocks(&with_free_port(&page));
    let root = tempfile::Builder::new().prefix("drawbridge-it-clients-").tempdir().unwrap();
    symlink(python::repository().join("proto"), root.path().join("proto")).unwrap();
    let (mock, rest) = blocks.split_first().unwrap();
    // In the place of the shell, which would not pass on that it is to end.
    let mut command = shell(&Block { text: format!("exec {}", mock.text), ..mock.clone() }, root.path());
    let serving = Serving::start(command.process_group(0));
    let folder = root.path().join("clients");
    // What is installed comes from locked lists, into `target/`.
    symlink(python::interpreter().parent().unwrap().parent().unwrap(), folder.join("venv")).unwrap();
    symlink(node::modules(), folder.join("node_modules")).unwrap();
    let mut asked = 0;
    for (block, answer) in rest.iter().zip(rest.iter().skip(1)).filter(|(block, _)| block.info == "sh") {
        assert_eq!(answer.info, "text", "{}", block.text);
        let ((exchange, said), (shown, expected)) = (told(&typed(block, &folder)), told(&answer.text));
        assert_eq!(said, expected, "the page shows another answer than came back");
        assert_eq!((exchange.len(), shown.len()), (ID, ID), "{exchange}");
        for member in ["partner", "provider"] {
            let data = format!("{member}/data");
            let listed = succeed(&folder, ["log", "list", "--data", &data, "--exchange", &exchange]);
            assert!(listed.contains("Patients/Find"), "{member}: {listed}");
        }
        asked += 1;
    }
    assert_eq!(asked, 3, "Python, Node and curl");
    assert!(serving.stop(), "the mock did not end well");
}
