//! An old video library's database, loaded into a PostgreSQL server and served whole.

#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

extern crate drawbridge_connectors as connectors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::{Ask, Asker, BindingConfig, Bindings, DatabaseConfig, Setup};
use contract::{Contracts, Source};
use futures_util::StreamExt;
use serde_json::Value;

use server::Server;

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "postgres/server.rs"]
mod server;

/// What a configuration says of it.
#[derive(serde::Deserialize)]
struct File {
    binding: Vec<BindingConfig>,
    database: BTreeMap<String, DatabaseConfig>,
}

/// The library as the gateway serves it.
struct Library {
    bindings: Bindings,
}

impl Library {
    async fn open() -> Self {
        let server = Server::shared();
        let schema = std::fs::read_to_string(folder().join("schema.sql")).unwrap();
        let data = std::fs::read_to_string(folder().join("data.sql")).unwrap();
        let database = server.database(&format!("{schema}\n{data}"));

        let proto = std::fs::read_to_string(folder().join("video.proto")).unwrap();
        let date = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/google/type/date.proto");
        let files = vec![
            ("video.proto".into(), proto),
            ("google/type/date.proto".into(), std::fs::read_to_string(date).unwrap()),
        ];
        let contracts = Contracts::load(&[Source::Protos { name: "sakila".into(), files }]).unwrap();

        let bindings = std::fs::read_to_string(folder().join("bindings.toml")).unwrap();
        let table = server.table(&database, "").replace("database.legacy", "database.library");
        let file: File = toml::from_str(&format!("{table}\n{bindings}")).unwrap();
        let setup = Setup {
            bindings: &file.binding,
            databases: &file.database,
            contracts: &contracts,
            folder: server.folder(),
        };
        let bindings = Bindings::prepare(setup).await.unwrap_or_else(|problems| panic!("{problems:#?}"));
        Self { bindings }
    }

    /// Asks, and returns every message as JSON.
    async fn ask(&self, method: &str, request: &str) -> Vec<Value> {
        let binding = self.bindings.get(&format!("/video.v1.Library/{method}")).unwrap();
        let method = Arc::clone(binding.method());
        let request = method.request_from_json(request).unwrap().into();
        let question = Ask {
            method: Arc::clone(&method),
            request,
            requests: None,
            deadline: None,
            metadata: Vec::new(),
            command: None,
            listener: None,
            asker: Asker::default(),
            stalled: None,
        };
        let answer = binding.connector().answer(question).await.unwrap();
        let message = |message: Result<bytes::Bytes, _>| {
            serde_json::from_str(&method.answer_to_json(&message.unwrap()).unwrap()).unwrap()
        };
        answer.messages.map(message).collect().await
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/sakila")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn every_table_is_served_row_for_row() {
    let library = Library::open().await;
    assert_eq!(library.bindings.len(), 18);
    for (method, rows, first) in [
        (
            "Actors",
            200,
            r#"{"actorId":1,"name":{"first":"PENELOPE","last":"GUINESS"},"updated":"2006-02-15T04:34:33Z"}"#,
        ),
        ("Categories", 16, r#"{"categoryId":1,"name":"Action"}"#),
        ("Languages", 6, r#"{"languageId":1,"name":"English"}"#),
        ("Castings", 5462, r#"{"actorId":1,"filmId":1}"#),
        ("Shelvings", 1000, r#"{"filmId":1,"categoryId":6}"#),
        ("Countries", 109, r#"{"countryId":1,"name":"Afghanistan"}"#),
        ("Cities", 600, r#"{"cityId":1,"name":"A Corua (La Corua)","countryId":87}"#),
        ("Stores", 2, r#"{"storeId":1,"managerStaffId":1,"addressId":1}"#),
        (
            "Staff",
            2,
            r#"{"staffId":1,"name":{"first":"Mike","last":"Hillyer"},"email":"Mike.Hillyer@sakilastaff.com","storeId":1,"active":true}"#,
        ),
        ("Copies", 4581, r#"{"inventoryId":1,"filmId":1,"storeId":1}"#),
    ] {
        let answer = library.ask(method, "{}").await;
        assert_eq!(answer.len(), rows, "{method}");
        assert_eq!(answer[0], json(first), "{method}");
    }
    let addresses = library.ask("Addresses", "{}").await;
    assert_eq!(addresses.len(), 603);
    assert_eq!(addresses[0]["lines"], json(r#"["47 MySakila Drive"]"#));
}

#[tokio::test]
async fn films_come_with_what_the_tables_around_them_say() {
    let library = Library::open().await;
    let films = library.ask("Films", "{}").await;
    assert_eq!(films.len(), 1000);
    let first = json(
        r#"{"filmId":1,"title":"ACADEMY DINOSAUR","description":"A Epic Drama of a Feminist And a Mad Scientist who must Battle a Teacher in The Canadian Rockies",
            "releaseYear":2006,"language":"English","rating":"RATING_PG","rentalDuration":6,"rentalRate":"99","replacementCost":"20.99",
            "minutes":86,"specialFeatures":["Deleted Scenes","Behind the Scenes"],"categories":["Documentary"],
            "actorIds":[1,10,20,30,40,53,108,162,188,198],"updated":"2006-02-15T05:03:42Z",
            "words":"'academi':1 'battl':15 'canadian':20 'dinosaur':2 'drama':5 'epic':4 'feminist':8 'mad':11 'must':14 'rocki':21 'scientist':12 'teacher':17"}"#,
    );
    assert_eq!(films[0], first);
    assert_eq!(library.ask("Find", r#"{"filmId":1}"#).await, [first]);
    let of = |rating: &str| films.iter().filter(|film| film["rating"] == rating).count();
    assert_eq!(
        ["RATING_G", "RATING_PG", "RATING_PG_13", "RATING_R", "RATING_NC_17"].map(of),
        [178, 194, 223, 195, 210]
    );
    let castings: usize = films.iter().filter_map(|film| film["actorIds"].as_array()).map(Vec::len).sum();
    assert_eq!(castings, 5462);

    let found = library.ask("Search", r#"{"words":"mad scientists","rating":"RATING_PG_13"}"#).await;
    assert!(!found.is_empty() && found.len() < 223, "{}", found.len());
    assert!(found.iter().all(|film| film["rating"] == "RATING_PG_13"));
    assert_eq!(library.ask("Search", r#"{"rating":"RATING_NC_17"}"#).await.len(), 210);
    assert_eq!(library.ask("Search", "{}").await.len(), 1000);
}

#[tokio::test]
async fn customers_rentals_and_payments_are_counted_to_the_penny() {
    let library = Library::open().await;
    let customers = library.ask("Customers", "{}").await;
    assert_eq!(customers.len(), 599);
    assert_eq!(customers[0]["name"], json(r#"{"first":"MARY","last":"SMITH"}"#));
    assert_eq!(customers[0]["since"], json(r#"{"year":2006,"month":2,"day":14}"#));
    // What the programs look at, and not the column that says the same of all.
    assert_eq!(customers.iter().filter(|customer| customer["active"] != true).count(), 15);

    let rentals = library.ask("Rentals", "{}").await;
    assert_eq!(rentals.len(), 16_044);
    assert_eq!(rentals.iter().filter(|rental| rental.get("returned").is_none()).count(), 183);
    // Summer time in London.
    assert_eq!(rentals[0]["rented"], "2005-05-24T21:53:30Z");

    let payments = library.ask("Payments", "{}").await;
    assert_eq!(payments.len(), 16_049);
    let pennies = |payment: &Value| payment["amount"].as_str().unwrap_or("0").parse::<u64>().unwrap();
    assert_eq!(payments.iter().map(pennies).sum::<u64>(), 6_741_651);

    let sales = library.ask("Sales", "{}").await;
    assert_eq!(
        sales,
        [json(
            r#"{"stores":[{"store":"Lethbridge,Canada","manager":"Mike Hillyer","total":"33689.74"},
                {"store":"Woodridge,Australia","manager":"Jon Stephens","total":"33726.77"}]}"#
        )]
    );
}
