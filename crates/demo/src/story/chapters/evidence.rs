//! What the logs are worth.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    members::{COUNCIL, TRUST},
    story::{
        StoryError,
        command::{CommandLine, relative},
        stage::Stage,
        teller::grouped,
    },
};

/// Both logs are verified, and read.
pub(super) async fn both_logs(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Both logs are verified");
    stage.teller.say("Each by the list of members that the other has:");
    for (member, other) in [(&COUNCIL, &TRUST), (&TRUST, &COUNCIL)] {
        let (data, directory) = (format!("{}/data", member.folder), format!("{}/directory.note", other.folder));
        let verify = CommandLine::new(["log", "verify", "--data", &data, "--directory", &directory]);
        let ran = stage.run(&verify, 8).await?;
        stage.teller.check(
            ran.succeeded,
            &format!("the log of {} is whole: every record, every tile, every signature", member.id),
        );
    }
    stage
        .teller
        .say("And this is what an auditor of the council reads about its social care system, refusals and all:");
    let list = CommandLine::new(["log", "list", "--data", "council/data", "--system", "social-care"]);
    let ran = stage.run(&list, 14).await?;
    let told =
        ["safeguarding", "answered", "council-tax", "WRONG_PURPOSE"].iter().all(|word| ran.stdout.contains(word));
    stage.teller.check(ran.succeeded && told, "who asked whom for what, why, and how it ended");
    Ok(())
}

/// A byte of a log is changed on disk.
pub(super) async fn one_byte(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("One byte of a log is changed");
    stage.teller.say("Somebody with access to the disk changes one byte, in a copy so that the gateway can go on:");
    let root = stage.place.folder.clone();
    stage.teller.plain_command("cp -r trust/data changed");
    copy(&root.join("trust/data"), &root.join("changed"))?;
    let Some((file, place)) = change(&root.join("changed"))? else {
        stage.teller.broke("the log holds no record to change");
        return Ok(());
    };
    let name = relative(&file, &root);
    stage.teller.fact(&format!("byte {} of {name} is another one now", grouped(place as u64)));
    let ran = stage.run(&CommandLine::new(["log", "verify", "--data", "changed"]), 8).await?;
    let file_name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let said = format!("{}{}", ran.stdout, ran.stderr);
    stage.teller.check(!ran.succeeded && said.contains(&file_name), "found, and named to the file");
    Ok(())
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Flips a bit in the middle of what is written in the journal of the copied log. Returns the file and the place, in bytes
/// from its start.
fn change(folder: &Path) -> io::Result<Option<(PathBuf, usize)>> {
    let mut fullest: Option<(usize, PathBuf)> = None;
    for entry in fs::read_dir(folder.join("ledger/journal"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        // A segment is as long from its first record on as it will ever be; behind the last record it is empty.
        let written = fs::read(&path)?.iter().rposition(|byte| *byte != 0).unwrap_or_default();
        if fullest.as_ref().is_none_or(|(most, _)| written > *most) {
            fullest = Some((written, path));
        }
    }
    let Some((written, file)) = fullest else { return Ok(None) };
    let mut bytes = fs::read(&file)?;
    let place = written / 2;
    let Some(byte) = bytes.get_mut(place) else { return Ok(None) };
    *byte ^= 1;
    fs::write(&file, bytes)?;
    Ok(Some((file, place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_in_the_written_part_of_the_journal_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("ledger/journal")).unwrap();
        let mut segment = vec![7; 100];
        segment.resize(4096, 0);
        fs::write(data.join("ledger/journal/000.seg"), &segment).unwrap();
        fs::write(data.join("ledger/journal/next.tmp"), vec![0; 8192]).unwrap();
        fs::write(data.join("directory.accepted"), vec![7; 8192]).unwrap();
        let copied = folder.path().join("copy");
        copy(&data, &copied).unwrap();
        let (file, place) = change(&copied).unwrap().unwrap();
        assert_eq!((file.clone(), place), (copied.join("ledger/journal/000.seg"), 49));
        let changed = fs::read(file).unwrap();
        let differing: Vec<_> = (0..segment.len()).filter(|at| changed[*at] != segment[*at]).collect();
        assert_eq!(differing, [49]);
        assert_eq!(fs::read(data.join("ledger/journal/000.seg")).unwrap(), segment);
    }
}
