//! What a shell and `man` get.

use std::process::Command;

use crate::support::Place;

#[test]
fn bash_completes_commands_as_they_are_typed() {
    let place = Place::new();
    place.write("drawbridge.bash", &place.does(["completions", "bash"]));
    let complete = |words: &str, at: usize| {
        let last = words.split(' ').nth(at).unwrap();
        let script = format!(
            "source ./drawbridge.bash; COMP_WORDS=({words}); COMP_CWORD={at}; _drawbridge drawbridge '{last}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(place.folder()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("drawbridge doc", 1), "doctor\n");
    assert!(complete("drawbridge agreement s", 2).contains("sign"));
    assert!(complete("drawbridge status --", 2).contains("--json"));
    assert_eq!(complete("drawbridge explain NO_AG", 2), "NO_AGREEMENT\n");
    for shell in ["zsh", "fish"] {
        assert!(place.does(["completions", shell]).contains("NO_AGREEMENT"), "{shell}");
        assert!(place.does(["completions", shell]).contains("doctor"), "{shell}");
    }
    assert!(place.misuses(["completions", "cmd"]).contains("bash"));
}

#[test]
fn the_manual_is_written_into_a_folder() {
    let place = Place::new();
    let said = place.does(["man", "share/man1"]);
    assert!(said.contains("pages in share/man1"), "{said}");
    let page = place.read("share/man1/drawbridge-doctor.1");
    assert!(page.contains("drawbridge") && page.contains("exit code"), "{page}");
}
