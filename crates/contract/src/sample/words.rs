//! Text that fits the name of its field: people, places, references. Names of hosts are of `example.org`, telephone numbers are
//! those kept for drama.

use crate::rules::Format;

use super::{format, moment::Moment, random::Random};

const GIVEN: &[&str] = &[
    "Aisha",
    "Alan",
    "Amelia",
    "Ben",
    "Chloe",
    "Daniel",
    "Ewan",
    "Fatima",
    "Grace",
    "Harriet",
    "Imran",
    "Jack",
    "Katherine",
    "Leah",
    "Mohammed",
    "Niamh",
    "Oliver",
    "Priya",
    "Rhys",
    "Sofia",
    "Thomas",
    "Zofia",
];
const FAMILY: &[&str] = &[
    "Adams",
    "Ashe",
    "Begum",
    "Brook",
    "Campbell",
    "Davies",
    "Evans",
    "Fletcher",
    "Griffiths",
    "Hughes",
    "Iqbal",
    "Jones",
    "Khan",
    "Lewis",
    "MacDonald",
    "Nowak",
    "O'Connor",
    "Patel",
    "Roberts",
    "Singh",
    "Taylor",
    "Williams",
];
const TOWNS: &[&str] = &[
    "Ashford",
    "Bangor",
    "Carlisle",
    "Durham",
    "Exeter",
    "Falkirk",
    "Grantham",
    "Hereford",
    "Inverness",
    "Kendal",
    "Lancaster",
    "Maidstone",
    "Northallerton",
    "Oxford",
    "Perth",
    "Ripon",
    "Swansea",
    "Taunton",
    "Wells",
    "York",
];
const COUNTIES: &[&str] = &["Cumbria", "Devon", "Durham", "Fife", "Gwynedd", "Kent", "Norfolk", "Somerset", "Surrey"];
const STREETS: &[&str] = &["Church Lane", "High Street", "Mill Road", "Park Avenue", "Station Road", "The Green"];
const SENTENCES: &[&str] = &[
    "Nothing further to note",
    "Seen and agreed",
    "To be looked at again",
    "As told by telephone",
    "Confirmed in writing",
    "No change since the last visit",
];
const TITLES: &[&str] = &["Mr", "Mrs", "Ms", "Dr", "Mx"];

/// A way to make text.
type Making = fn(&[&str], &mut Random) -> String;

/// Words in names of fields, and what fits them. The first that is found counts.
const TOPICS: &[(&[&str], Making)] = &[
    (&["nhs"], |words, random| format::made(Format::NhsNumber, words, random)),
    (&["uprn"], |words, random| format::made(Format::Uprn, words, random)),
    (&["nino", "insurance"], |words, random| format::made(Format::NationalInsuranceNumber, words, random)),
    (&["postcode", "postal", "zip"], |words, random| format::made(Format::Postcode, words, random)),
    (&["email", "mail"], |_, random| email(random)),
    (&["uuid", "guid"], |words, random| format::made(Format::Uuid, words, random)),
    (&["phone", "telephone", "mobile", "fax"], |_, random| telephone(random)),
    (&["url", "uri", "link", "website", "web", "homepage"], |words, _| {
        format!("https://www.example.org/{}", words.join("-"))
    }),
    (&["time", "timestamp", "at", "when", "moment"], |words, random| Moment::made(words, random).date_time()),
    (&["date", "day", "born", "dob", "birthday", "since", "until"], |words, random| Moment::made(words, random).date()),
    (&["given", "first", "forename", "forenames", "firstname"], |_, random| random.pick(GIVEN).to_owned()),
    (&["family", "last", "surname", "lastname"], |_, random| random.pick(FAMILY).to_owned()),
    (&["title", "salutation", "prefix"], |_, random| random.pick(TITLES).to_owned()),
    (&["street", "line", "address", "thoroughfare"], |_, random| {
        format!("{} {}", random.between(1, 120), random.pick(STREETS))
    }),
    (&["town", "city", "locality", "place"], |_, random| random.pick(TOWNS).to_owned()),
    (&["county", "region", "area", "district", "ward"], |_, random| random.pick(COUNTIES).to_owned()),
    (&["country", "nation"], |_, _| "GB".to_owned()),
    (&["currency"], |_, _| "GBP".to_owned()),
    (&["language", "locale"], |_, random| random.pick(&["en-GB", "cy", "pl", "ur"]).to_owned()),
    (&["sex", "gender"], |_, random| random.pick(&["female", "male"]).to_owned()),
    (
        &["person", "tenant", "patient", "applicant", "owner", "contact", "author", "officer", "fullname"],
        |_, random| format!("{} {}", random.pick(GIVEN), random.pick(FAMILY)),
    ),
    (&["organisation", "organization", "authority", "council", "office", "employer"], |_, random| {
        format!("{} Borough Council", random.pick(TOWNS))
    }),
    (
        &["note", "notes", "description", "comment", "comments", "remark", "reason", "text", "summary", "message"],
        |_, random| random.pick(SENTENCES).to_owned(),
    ),
    (&["code", "abbreviation"], |_, random| random.characters("ABCDEFGHKLMNPRSTUWXYZ", 3)),
    (&["id", "identifier", "number", "no", "ref", "reference", "account", "key", "case"], |words, random| {
        reference(words, random)
    }),
    (&["version"], |_, random| format!("1.{}", random.below(20))),
    (&["hash", "digest", "checksum", "token"], |_, random| random.characters("0123456789abcdef", 32)),
    (&["name", "label"], |_, random| random.pick(TOWNS).to_owned()),
];

/// Takes the name of a field apart: `birth_date` and `birthDate` are two words.
pub(super) fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether one of the words is known, be it of one thing or of several.
fn among(known: &[&str], words: &[&str]) -> bool {
    let is_known = |word: &&str| known.contains(word) || word.strip_suffix('s').is_some_and(|one| known.contains(&one));
    words.iter().any(is_known)
}

/// Returns text that fits a field of this name; without a better thought, the name and a number.
pub(super) fn text(words: &[&str], random: &mut Random) -> String {
    let topic = TOPICS.iter().find(|(known, _)| among(known, words));
    match topic {
        Some((_, making)) => making(words, random),
        None => format!("{} {}", words.join(" "), random.between(1, 99)),
    }
}

/// Brings text to a length in characters, by cutting it off or by more of the same.
pub(super) fn fitted(text: String, least: usize, most: Option<usize>) -> String {
    let most = most.unwrap_or(usize::MAX);
    if text.is_empty() || (least..=most).contains(&text.chars().count()) {
        return text;
    }
    let spaced = format!("{text} ");
    let fitted: String = spaced.chars().cycle().take(least.max(spaced.chars().count()).min(most)).collect();
    // A space at the end would be lost on the next who copies it.
    match fitted.strip_suffix(' ') {
        Some(cut) if cut.chars().count() >= least => cut.to_owned(),
        Some(cut) => format!("{cut}."),
        None => fitted,
    }
}

/// Returns the range in which numbers of a field of this name usually are.
pub(super) fn usual(words: &[&str]) -> (f64, f64) {
    const RANGES: &[(&[&str], f64, f64)] = &[
        (&["age", "years"], 1.0, 95.0),
        (&["year"], 1990.0, 2026.0),
        (&["month"], 1.0, 12.0),
        (&["day"], 1.0, 28.0),
        (&["latitude", "lat"], 50.0, 58.0),
        (&["longitude", "lon", "lng", "long"], -5.0, 1.5),
        (&["easting", "eastings"], 200_000.0, 600_000.0),
        (&["northing", "northings"], 100_000.0, 900_000.0),
        (&["percent", "percentage", "share", "rate"], 1.0, 99.0),
        (&["amount", "price", "cost", "pence", "rent", "total", "balance", "sum", "fee", "value"], 100.0, 99_999.0),
        (&["id", "number", "no", "reference", "ref", "account"], 100_000.0, 999_999.0),
        (&["population"], 1_000.0, 900_000.0),
    ];
    let found = RANGES.iter().find(|(known, ..)| among(known, words));
    found.map_or((1.0, 100.0), |(_, least, most)| (*least, *most))
}

/// Returns an address of a name that nobody can have.
pub(super) fn email(random: &mut Random) -> String {
    let plain = |name: &str| name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    format!("{}.{}@example.org", plain(random.pick(GIVEN)), plain(random.pick(FAMILY)))
}

/// Returns a number that is never given to anybody. Source: Ofcom, "Telephone numbers for use in TV and radio drama programmes".
fn telephone(random: &mut Random) -> String {
    format!("01632 960{}", random.characters("0123456789", 3))
}

/// Returns a reference that begins like the word in its field's name that says what it is of.
fn reference(words: &[&str], random: &mut Random) -> String {
    let first = words.first().and_then(|word| word.chars().next()).unwrap_or('r').to_uppercase();
    format!("{first}-{}", random.between(100_000, 999_999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_taken_apart() {
        assert_eq!(words_of("birth_date"), ["birth", "date"]);
        assert_eq!(words_of("birthDate"), ["birth", "date"]);
        assert_eq!(words_of("_UPRN"), ["uprn"]);
    }

    #[test]
    fn text_is_brought_to_its_length() {
        for (least, most) in [(0, None), (3, Some(3)), (40, None), (12, Some(14)), (0, Some(2)), (100, Some(100))] {
            let length = fitted("née ½".to_owned(), least, most).chars().count();
            assert!(length >= least && most.is_none_or(|most| length <= most), "{least} {most:?}: {length}");
        }
    }

    #[test]
    fn text_fits_the_name_of_its_field() {
        let made = |name: &str| {
            let words = words_of(name);
            text(&words.iter().map(String::as_str).collect::<Vec<_>>(), &mut Random::of(3, 0))
        };
        assert!(Format::Date.accepts(&made("birth_date")), "{}", made("birth_date"));
        assert!(Format::Postcode.accepts(&made("post_town_postcode")));
        assert!(FAMILY.contains(&made("family_name").as_str()));
        assert!(made("rent_account").starts_with("R-"), "{}", made("rent_account"));
        assert!(TOWNS.contains(&made("towns").as_str()), "{}", made("towns"));
        assert!(made("colour").starts_with("colour "), "{}", made("colour"));
    }
}
