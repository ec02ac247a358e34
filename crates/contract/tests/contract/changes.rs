//! What a later version of a contract may change, so that agreements about the earlier one go on.

use drawbridge_contract::{Agreed, Change, Contracts, Digest, Kept, Shown, Source, Unusable, Version, Why};

use super::fixtures::{FIXTURES, one, protos};

const EARLIER: &str = r#"
service Houses {
  rpc Find(Ask) returns (House) { option (drawbridge.options.v1.method) = { kind: KIND_QUERY, deadline: "3s" }; }
  rpc Let(Ask) returns (House) { option (drawbridge.options.v1.method).kind = KIND_COMMAND; }
}
message Ask { string id = 1; }
message House {
  reserved 9;
  reserved "tenant";
  string id = 1 [(drawbridge.options.v1.field).classification = CLASSIFICATION_OFFICIAL];
  int32 rooms = 2;
  repeated string owners = 3;
  oneof heat { string gas = 4; string oil = 5; }
  State state = 6;
  Yard yard = 7;
}
message Yard { int32 size = 1; }
enum State { reserved 7; STATE_UNSPECIFIED = 0; STATE_EMPTY = 1; }
"#;

/// Returns what changes when `from` is replaced by `to`.
fn changes(from: &str, to: &str) -> Vec<Change> {
    assert!(EARLIER.contains(from), "{from}");
    let (earlier, later) = (one(EARLIER), one(&EARLIER.replacen(from, to, 1)));
    let (earlier, later) = (earlier.service("t.Houses").unwrap(), later.service("t.Houses").unwrap());
    let changes = earlier.changes_to(later);
    // Whatever changes a digest is a change, and nothing else is.
    assert_eq!(changes.is_empty(), earlier.digest == later.digest, "{from} -> {to}");
    changes
}

#[test]
fn what_comes_in_addition_is_compatible() {
    let check = |from: &str, to: &str, told: &[&str]| {
        let changes = changes(from, to);
        assert!(changes.iter().all(|change| !change.breaks), "{changes:?}");
        assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), told, "{to}");
    };
    check(
        "  rpc Let",
        "  rpc See(Ask) returns (Yard) { option idempotency_level = NO_SIDE_EFFECTS; }\n  rpc Let",
        &["`t.Houses/See` is added: unary t.Ask t.Yard"],
    );
    check(
        "int32 rooms = 2;",
        "int32 rooms = 2; optional string note = 8;",
        &["`t.House.note` is added: field 8, optional string"],
    );
    check(
        "int32 size = 1;",
        "int32 size = 1; repeated Tree trees = 2; } message Tree { int32 age = 1 [(drawbridge.options.v1.field).required = true];",
        &["`t.Yard.trees` is added: field 2, repeated message:t.Tree"],
    );
    check(
        "string oil = 5;",
        "string oil = 5; string heat_pump = 8;",
        &["`t.House.heat_pump` is added: field 8, optional string"],
    );
    check("STATE_EMPTY = 1;", "STATE_EMPTY = 1; STATE_LET = 2;", &["`t.State.STATE_LET` is added: 2"]);
    // What a digest does not cover is no change at all.
    check("reserved 9;", "reserved 9, 10; // more", &[]);
}

#[test]
fn what_was_said_before_has_to_be_said_still() {
    let check = |from: &str, to: &str, told: &str| {
        let changes = changes(from, to);
        let first = changes.first().unwrap();
        assert!(first.breaks && first.to_string().contains(told), "{to}: {changes:?}");
    };
    check(
        "  rpc Let(Ask) returns (House) { option (drawbridge.options.v1.method).kind = KIND_COMMAND; }\n",
        "",
        "`t.Houses/Let` is removed",
    );
    check(
        "Find(Ask) returns (House)",
        "Find(Ask) returns (stream House)",
        "`t.Houses/Find` changed from `unary t.Ask t.House`",
    );
    check("Find(Ask) returns (House)", "Find(House) returns (House)", "`t.Houses/Find` changed");
    check(
        "KIND_COMMAND",
        "KIND_QUERY",
        "`(drawbridge.options.v1.method).kind` changed from KIND_COMMAND to KIND_QUERY",
    );
    check(
        "deadline: \"3s\"",
        "deadline: \"9s\"",
        "`(drawbridge.options.v1.method).deadline` changed from \"3s\" to \"9s\"",
    );
    check("  int32 rooms = 2;\n", "", "`t.House.rooms` is removed");
    check("int32 rooms = 2;", "reserved 2;", "`t.House.rooms` is removed");
    check("int32 rooms = 2;", "int32 rooms = 8;", "`t.House.rooms` is renumbered from 2 to 8");
    check("int32 rooms = 2;", "int32 chambers = 2;", "`t.House.rooms` is renamed to `chambers`");
    check("int32 rooms = 2;", "int64 rooms = 2;", "`t.House.rooms` is retyped from `int32` to `int64`");
    check(
        "int32 rooms = 2;",
        "optional int32 rooms = 2;",
        "`t.House.rooms` has the label `optional` in place of `implicit`",
    );
    check(
        "int32 rooms = 2;",
        "int32 rooms = 2 [json_name = \"r\"];",
        "`t.House.rooms` has `json=\"r\"` in place of nothing",
    );
    check(
        "int32 rooms = 2;",
        "int32 rooms = 2; string tenant = 8;",
        "`t.House.tenant` takes a number or a name that the earlier version reserves",
    );
    check("reserved 9;", "string new = 9;", "`t.House.new` takes a number or a name that the earlier version reserves");
    check(
        "int32 rooms = 2;",
        "int32 rooms = 2; string must = 8 [(drawbridge.options.v1.field).required = true];",
        "`t.House.must` is added as a field that has to be given",
    );
    check(
        "int32 rooms = 2;",
        "int32 rooms = 2; repeated string some = 8 [(drawbridge.options.v1.field).min_items = 1];",
        "`t.House.some` is added as a field that has to be given",
    );
    check(
        "CLASSIFICATION_OFFICIAL",
        "CLASSIFICATION_PUBLIC",
        "`t.House.id` has `(drawbridge.options.v1.field).classification` changed from CLASSIFICATION_OFFICIAL to CLASSIFICATION_PUBLIC",
    );
    check(
        "string id = 1; }",
        "string id = 1 [(drawbridge.options.v1.field).max_length = 9]; }",
        "`t.Ask.id` has `(drawbridge.options.v1.field).max_length` set to 9",
    );
    check(
        " [(drawbridge.options.v1.field).classification = CLASSIFICATION_OFFICIAL]",
        "",
        "`t.House.id` has `(drawbridge.options.v1.field).classification` no more",
    );
    check(
        "oneof heat { string gas = 4; string oil = 5; }",
        "string gas = 4; oneof heat { string oil = 5; }",
        "`t.House.gas` has the label `implicit` in place of `optional`",
    );
    check(" STATE_EMPTY = 1;", "", "`t.State.STATE_EMPTY` is removed");
    check("STATE_EMPTY = 1;", "STATE_VOID = 1;", "`t.State.STATE_EMPTY` is removed");
    check(
        "reserved 7; STATE_UNSPECIFIED = 0; STATE_EMPTY = 1;",
        "STATE_UNSPECIFIED = 0; STATE_EMPTY = 1; STATE_LET = 7;",
        "`t.State.STATE_LET` takes a number or a name",
    );
}

#[test]
fn a_closed_enum_takes_no_further_value_and_a_message_no_further_required_field() {
    let proto2 = "syntax = \"proto2\"; package t;\nservice S { rpc A(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; } }\n\
                  message M { optional E e = 1; }\nenum E { A = 1; }\n";
    let load = |text: &str| Contracts::load(&[protos("proto", &[("t.proto", text)])]).unwrap();
    let earlier = load(proto2);
    for (from, to, told) in [
        ("A = 1;", "A = 1; B = 2;", "an enum that is closed"),
        ("E e = 1;", "E e = 1; required int32 n = 2;", "has to be given"),
    ] {
        let later = load(&proto2.replace(from, to));
        let changes = earlier.service("t.S").unwrap().changes_to(later.service("t.S").unwrap());
        assert!(changes.len() == 1 && changes[0].breaks, "{changes:?}");
        assert!(changes[0].what.contains(told), "{changes:?}");
    }
}

#[test]
fn a_change_says_where_it_stands() {
    let check = |from: &str, to: &str, version, line: usize| {
        let place = changes(from, to)[0].place.clone().unwrap();
        // The head is a line of its own.
        assert_eq!((place.version, place.file.as_str(), place.line as usize), (version, "t.proto", line + 1), "{to}");
    };
    let line = |text: &str| EARLIER.lines().position(|line| line.contains(text)).unwrap() + 1;
    check("  int32 rooms = 2;\n", "", Version::Earlier, line("int32 rooms"));
    check("int32 rooms", "int64 rooms", Version::Later, line("int32 rooms"));
    check("KIND_COMMAND", "KIND_QUERY", Version::Later, line("rpc Let"));
    check("STATE_EMPTY = 1;", "STATE_EMPTY = 1; STATE_LET = 2;", Version::Later, line("STATE_EMPTY"));
}

fn kept(contracts: &Contracts, digest: Digest) -> Kept {
    let bytes = contracts.kept_set("t.Houses");
    Kept { service: "t.Houses".to_owned(), digest, source: Source::DescriptorSet { name: "kept".to_owned(), bytes } }
}

#[test]
fn an_agreement_goes_on_under_a_later_version_as_long_as_the_earlier_one_is_at_hand() {
    let earlier = one(EARLIER);
    let digest = earlier.service("t.Houses").unwrap().digest;
    let later = || one(&EARLIER.replace("int32 rooms = 2;", "int32 rooms = 2; string note = 8;"));
    let alone = later();
    assert_eq!(alone.agreed(alone.service("t.Houses").unwrap(), &digest).unwrap_err(), Unusable::Unknown);
    for contracts in
        [later().with_earlier(std::slice::from_ref(&earlier), []), later().with_earlier(&[], [kept(&earlier, digest)])]
    {
        let loaded = contracts.service("t.Houses").unwrap();
        let agreed = contracts.agreed(loaded, &digest).unwrap();
        assert_eq!(agreed.digest, digest);
        let house = agreed.methods[0].output();
        assert!(house.get_field(8).is_none() && house.get_field(2).is_some());
        assert!(loaded.methods[0].output().get_field(8).is_some());
        assert_eq!(contracts.agreed(loaded, &loaded.digest).unwrap().digest, loaded.digest);
    }
    // The later version does not go back to what is not compatible with it.
    let back = one(EARLIER).with_earlier(&[later()], []);
    let newer = alone.service("t.Houses").unwrap().digest;
    let Unusable::Broken(changes) = back.agreed(back.service("t.Houses").unwrap(), &newer).unwrap_err() else {
        panic!("it is known, and not compatible")
    };
    assert!(changes[0].to_string().contains("`t.House.note` is removed"), "{changes:?}");
}

#[test]
fn what_was_kept_is_believed_only_as_far_as_its_digest() {
    let earlier = one(EARLIER);
    let digest = earlier.service("t.Houses").unwrap().digest;
    let other = one(&EARLIER.replace("rooms", "chambers"));
    let broken = Kept {
        source: Source::DescriptorSet { name: "kept".to_owned(), bytes: vec![1, 2, 3] },
        ..kept(&earlier, digest)
    };
    for kept in [kept(&other, digest), broken] {
        let later = one(&EARLIER.replace("int32 rooms = 2;", "int32 rooms = 2; string note = 8;"));
        let contracts = later.with_earlier(&[], [kept]);
        let found = contracts.agreed(contracts.service("t.Houses").unwrap(), &digest);
        assert!(matches!(found, Err(Unusable::Damaged(_))), "{found:?}");
    }
}

#[test]
fn a_kept_version_has_its_digest_still() {
    // With options of its own, imports, and types of protobuf's.
    for service in FIXTURES.services() {
        let bytes = FIXTURES.kept_set(&service.name);
        let again = Contracts::load(&[Source::DescriptorSet { name: "kept".to_owned(), bytes }]).unwrap();
        assert_eq!(again.service(&service.name).map(|again| again.digest), Some(service.digest), "{}", service.name);
        assert_eq!(again.services().count(), 1);
    }
}

/// Says how to write the earlier and the later text of a contract with two services in one file.
fn two_services(house: &str, yard: &str) -> Contracts {
    one(&format!(
        "service Houses {{ rpc Find(House) returns (House) {{ option idempotency_level = NO_SIDE_EFFECTS; }} }}\n\
         service Yards {{ rpc Find(Yard) returns (Yard) {{ option idempotency_level = NO_SIDE_EFFECTS; }} }}\n\
         service Fences {{ rpc Find(Yard) returns (Yard) {{ option idempotency_level = NO_SIDE_EFFECTS; }} }}\n\
         // A house.\n\
         message House {{ string id = 1; {house} }} message Yard {{ string id = 1; {yard} }}"
    ))
}

#[test]
fn what_was_agreed_on_is_what_is_shown_beside_what_is_loaded() {
    let earlier = two_services("", "");
    let loaded = two_services("int32 rooms = 2;", "int32 size = 2;");
    let contracts = loaded.clone().with_earlier(std::slice::from_ref(&earlier), []);
    let digest = |contracts: &Contracts, name: &str| contracts.service(name).unwrap().digest;
    let of = |versions: &[(&str, &[&Contracts])]| -> Agreed {
        let one = |(name, of): &(&str, &[&Contracts])| {
            ((*name).to_owned(), of.iter().map(|contracts| digest(contracts, name)).collect())
        };
        versions.iter().map(one).collect()
    };
    let check = |agreed: &[(&str, &[&Contracts])], expected: &[(&str, &Contracts)], why: Option<Why>| {
        let agreed = of(agreed);
        let Shown { contracts: shown, as_loaded } = contracts.shown(&agreed);
        for (name, version) in expected {
            assert_eq!(digest(&shown, name), digest(version, name), "{name} of {agreed:?}");
        }
        let told: Vec<_> = as_loaded.iter().map(|one| (one.service.as_str(), one.why)).collect();
        assert_eq!(told, why.map(|why| (expected[0].0, why)).into_iter().collect::<Vec<_>>(), "{agreed:?}");
        // What reflection hands out can be read as it is.
        let names = agreed.keys().cloned().collect();
        let mut pool = prost_reflect::DescriptorPool::global();
        for (_, file) in shown.encoded_files(&names) {
            pool.decode_file_descriptor_proto(file.as_slice()).unwrap();
        }
        assert!(names.iter().all(|name| pool.get_service_by_name(name).is_some()));
    };
    let (houses, yards, fences) = ("t.Houses", "t.Yards", "t.Fences");
    check(&[(houses, &[&earlier])], &[(houses, &earlier)], None);
    check(&[(houses, &[&loaded])], &[(houses, &loaded)], None);
    check(&[(houses, &[&earlier]), (yards, &[&earlier])], &[(houses, &earlier), (yards, &earlier)], None);
    // Agreements that name several versions have no one to show.
    check(&[(houses, &[&earlier, &loaded])], &[(houses, &loaded)], Some(Why::Several));
    // `Yard` cannot be there twice, and so each is shown as it is loaded.
    check(&[(yards, &[&earlier]), (fences, &[&loaded])], &[(yards, &loaded), (fences, &loaded)], Some(Why::Clash));
    // What is not at hand cannot be shown.
    let never = two_services("int32 doors = 3;", "");
    check(&[(houses, &[&never])], &[(houses, &loaded)], Some(Why::Unusable));
    assert!(contracts.shown(&of(&[(houses, &[&earlier])])).contracts.service(yards).is_none());
}

/// Returns the comment before an element, without the blank at its beginning.
fn comment(file: &prost_reflect::FileDescriptor, path: &[i32]) -> Option<String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let found = info.location.iter().find(|location| location.path == path)?;
    found.leading_comments.as_deref().map(|comment| comment.trim().to_owned())
}

#[test]
fn what_is_shown_of_an_earlier_version_has_its_comments() {
    let text = |house: &str| {
        format!(
            "// The first, which nobody agreed on.\n\
             service Barns {{ rpc Find(Yard) returns (Yard) {{ option idempotency_level = NO_SIDE_EFFECTS; }} }}\n\
             // Asks about yards.\n\
             service Yards {{\n// Finds a yard.\nrpc Find(Yard) returns (Yard) {{ option idempotency_level = NO_SIDE_EFFECTS; }} }}\n\
             // Asks about houses.\n\
             service Houses {{\n// Finds a house.\nrpc Find(House) returns (House) {{ option idempotency_level = NO_SIDE_EFFECTS; }} }}\n\
             // A yard.\n\
             message Yard {{ string id = 1; }}\n\
             // A house.\n\
             message House {{\n// Which one.\nstring id = 1; {house} }}"
        )
    };
    let (earlier, loaded) = (one(&text("")), one(&text("// How many.\nint32 rooms = 2;")));
    let digest = |name: &str| earlier.service(name).unwrap().digest;
    // As it was kept, and as it was loaded beside the present one.
    let kept = Kept {
        service: "t.Houses".to_owned(),
        digest: digest("t.Houses"),
        source: Source::DescriptorSet { name: "kept".to_owned(), bytes: earlier.kept_set("t.Houses") },
    };
    for contracts in
        [loaded.clone().with_earlier(&[], [kept]), loaded.clone().with_earlier(std::slice::from_ref(&earlier), [])]
    {
        let agreed: Agreed =
            ["t.Houses", "t.Yards"].map(|name| (name.to_owned(), [digest(name)].into())).into_iter().collect();
        let shown = contracts.shown(&agreed);
        assert_eq!(shown.as_loaded, []);
        for (name, service, method) in [
            ("t.Houses", "Asks about houses.", "Finds a house."),
            // A neighbour in the same file, which did not change.
            ("t.Yards", "Asks about yards.", "Finds a yard."),
        ] {
            let found = shown.contracts.service(name).unwrap();
            let (file, of) = (found.descriptor().parent_file(), found.methods[0].descriptor());
            assert_eq!(comment(&file, found.descriptor().path()).as_deref(), Some(service), "{name}");
            assert_eq!(comment(&file, of.path()).as_deref(), Some(method), "{name}");
        }
        let house = shown.contracts.method("/t.Houses/Find").unwrap().output().clone();
        let (file, id) = (house.parent_file(), house.get_field(1).unwrap());
        assert_eq!(comment(&file, house.path()).as_deref(), Some("A house."));
        assert_eq!(comment(&file, id.path()).as_deref(), Some("Which one."));
        assert!(house.get_field(2).is_none() && shown.contracts.service("t.Barns").is_none());
    }
}

#[test]
fn a_service_that_did_not_change_is_shown_in_the_file_of_one_that_did() {
    let (earlier, loaded) = (two_services("", ""), two_services("int32 rooms = 2;", ""));
    let contracts = loaded.clone().with_earlier(std::slice::from_ref(&earlier), []);
    let names = ["t.Houses", "t.Yards"];
    let agreed: Agreed =
        names.iter().map(|name| ((*name).to_owned(), [earlier.service(name).unwrap().digest].into())).collect();
    let shown = contracts.shown(&agreed).contracts;
    let found: Vec<_> = shown.services().map(|service| service.name.as_str()).collect();
    assert_eq!(found, ["t.Houses", "t.Yards"]);
    assert!(shown.method("/t.Houses/Find").unwrap().output().get_field_by_name("rooms").is_none());
    assert_eq!(shown.service("t.Yards").unwrap().digest, loaded.service("t.Yards").unwrap().digest);
}
