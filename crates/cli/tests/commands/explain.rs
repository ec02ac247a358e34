//! Every refusal is explained.

use crate::support::Place;

#[test]
fn every_reason_is_listed_and_has_a_page() {
    let place = Place::new();
    let list = place.does(["explain"]);
    for reason in exchange::Reason::ALL {
        assert!(list.lines().any(|line| line.starts_with(&format!("{reason} "))), "{reason} is not listed");
        let page = place.does(["explain", reason.as_str()]);
        assert!(page.starts_with(&format!("{reason}\n")), "{page}");
        assert!(page.contains("What it means") && page.contains("What to do") && !page.contains('#'), "{page}");
        assert_eq!(place.does(["explain", &reason.as_str().to_lowercase()]), page);
    }
}

#[test]
fn a_reason_that_is_none_is_refused() {
    let said = Place::new().refuses(["explain", "NO_AGREMENT"]);
    assert!(said.contains("did you mean `NO_AGREEMENT`?"), "{said}");
}
