use std::cell::Cell;

use federation::MemberId;
use insta::assert_snapshot;

use super::*;
use crate::testing::{Call, both_sign, contracts, key, key_number, keys, now, parse, text, told};

struct Folder(Vec<(PathBuf, String)>);

impl Folder {
    fn of(files: &[(&str, String)]) -> Self {
        Self(files.iter().map(|(name, text)| (PathBuf::from(name), text.clone())).collect())
    }

    fn load(&self, loader: &mut Loader, keys: &dyn MemberKeys) -> Loaded {
        loader.load(self.0.iter().map(|(name, text)| (name.clone(), text.as_str())), keys, &contracts())
    }
}

fn half_signed() -> String {
    let mut file = parse(&text().replace("2026-1\"", "2026-9\""));
    file.sign(&key("council.example")).unwrap();
    file.to_string()
}

fn end_note() -> String {
    EndNote::sign(parse(&text()).agreement(), &key("trust.example"), now(), None).unwrap().to_string()
}

fn permitted(loaded: &Loaded) -> bool {
    loaded.agreements.permit(&Call::good().ask(), now()).is_ok()
}

#[test]
fn a_folder_holds_drafts_agreements_and_end_notes_in_any_order() {
    let folder = Folder::of(&[
        ("c-draft.toml", text().replace("2026-1\"", "2026-8\"")),
        ("b-half.note", half_signed()),
        ("a-signed.note", both_sign(&text()).to_string()),
        ("a-draft.toml", text()),
    ]);
    let loaded = folder.load(&mut Loader::new(), &keys);
    assert!(loaded.problems.is_empty(), "{}", told(&loaded.problems));
    assert!(permitted(&loaded));
    assert_eq!(loaded.agreements.iter().len(), 1);
    let waiting: Vec<_> =
        loaded.waiting.iter().map(|waiting| (waiting.agreement.id(), waiting.signatures.consumer)).collect();
    assert_eq!(waiting, [("council-trust-2026-9", true), ("council-trust-2026-8", false)]);
}

#[test]
fn an_end_note_that_arrives_ends_the_agreement() {
    let mut seen = Loader::new();
    let mut folder = Folder::of(&[("a.note", both_sign(&text()).to_string())]);
    assert!(permitted(&folder.load(&mut seen, &keys)));
    folder.0.push((PathBuf::from("end.note"), end_note()));
    let loaded = folder.load(&mut seen, &keys);
    assert!(!permitted(&loaded));
    assert_eq!(loaded.ends.len(), 1);
    assert_eq!(loaded.ends[0].to_string(), end_note());
}

#[test]
fn a_file_that_is_gone_permits_nothing_any_more() {
    let mut seen = Loader::new();
    assert!(permitted(&Folder::of(&[("a.note", both_sign(&text()).to_string())]).load(&mut seen, &keys)));
    assert!(!permitted(&Folder::of(&[]).load(&mut seen, &keys)));
}

#[test]
fn one_broken_file_leaves_the_others_in_force() {
    let signed = both_sign(&text()).to_string();
    let folder = Folder::of(&[
        ("a.note", signed.clone()),
        ("b.note", signed.replace("6 years", "7 years")),
        ("c.toml", "format = \"drawbridge.agreement/v1\"\n".to_owned()),
        ("d.note", end_note().replace("2027", "2028")),
        ("e.txt", "hello".to_owned()),
    ]);
    let loaded = folder.load(&mut Loader::new(), &keys);
    assert!(permitted(&loaded));
    assert_snapshot!(told(&loaded.problems));
}

#[test]
fn what_did_not_change_is_not_parsed_again_and_keys_are_looked_at_each_time() {
    let mut seen = Loader::new();
    let folder = Folder::of(&[("a.note", both_sign(&text()).to_string())]);
    let first = folder.load(&mut seen, &keys);
    let second = folder.load(&mut seen, &keys);
    let agreement = |loaded: &Loaded| Arc::clone(loaded.agreements.iter().next().unwrap());
    assert!(Arc::ptr_eq(&agreement(&first), &agreement(&second)));

    let asked = Cell::new(0);
    let withdrawn = |member: &MemberId| {
        asked.set(asked.get() + 1);
        vec![key_number(member.as_str(), 2).verifier()]
    };
    let third = folder.load(&mut seen, &withdrawn);
    assert!(asked.get() > 0 && !permitted(&third));
    assert_eq!(third.problems.len(), 2);
    assert!(permitted(&folder.load(&mut seen, &keys)));
}
