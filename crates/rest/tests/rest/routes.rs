//! Where methods are found, and which annotations are turned down.

use drawbridge_rest::{Found, Routes};

use super::contracts;

fn found(routes: &Routes, verb: &str, path: &str) -> String {
    match routes.find(verb, path) {
        Found::Route(matched) => format!("{} {}", matched.route.method().name(), matched.route.path()),
        Found::Verbs(verbs) => format!("only {}", verbs.join(", ")),
        Found::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn every_method_is_at_its_own_path() {
    let contracts = contracts::shipped();
    let routes = Routes::of(&contracts).unwrap();
    for method in contracts.services().flat_map(|service| &service.methods) {
        let Found::Route(matched) = routes.find("POST", method.path()) else { panic!("{}", method.path()) };
        assert_eq!(matched.route.method().path(), method.path());
    }
    assert_eq!(found(&routes, "POST", "/health.v1.Patients/Nothing"), "nothing");
    assert_eq!(found(&routes, "GET", "/health.v1.Patients/Find"), "only POST");
}

#[test]
fn annotations_give_further_routes_and_the_narrowest_wins() {
    let routes = Routes::of(&contracts::archive()).unwrap();
    let check =
        |verb: &str, path: &str, expected: &str| assert_eq!(found(&routes, verb, path), expected, "{verb} {path}");
    check("GET", "/v1/boxes/3/files/a", "Find /v1/boxes/{box.number}/files/{id}");
    check("GET", "/v1/shelves/3/boxes/7", "Find /v1/{name=shelves/*/boxes/*}");
    check("POST", "/v1/files/a:find", "Find /v1/files/{id}:find");
    check("PUT", "/v1/files/a", "Replace /v1/files/{id}");
    check("GET", "/v1/files", "List /v1/files");
    check("DELETE", "/v1/files/a", "only PUT");
    // What takes a stream of requests too.
    check("POST", "/v1/files", "TakeIn /v1/files");
    check("POST", "/archive.v1.Files/TakeIn", "TakeIn /archive.v1.Files/TakeIn");
    check("GET", "/v1/nothing", "nothing");
}

#[test]
fn an_annotation_that_cannot_be_followed_is_a_problem_where_it_stands() {
    let method = |name: &str, rule: &str| {
        format!("  rpc {name}(Q) returns (A) {{ option (google.api.http) = {{ {rule} }}; }}\n")
    };
    let service = |methods: &str| {
        format!(
            "service S {{\n{methods}}}\nmessage Q {{ string id = 1; Q inner = 2; repeated string tags = 3; map<string, string> m = 4; }}\nmessage A {{ string text = 1; }}\n"
        )
    };
    let rules = [
        "get: \"v1/x\"",
        "get: \"/v1/{nothing}\"",
        "get: \"/v1/{tags}\"",
        "get: \"/v1/{inner}\"",
        "post: \"/v1/x\" body: \"idd\"",
        "get: \"/v1/x\" body: \"*\"",
        "get: \"/v1/x\" response_body: \"txt\"",
        "get: \"/openapi.json\"",
        "get: \"/drawbridge.x/{id}\"",
        "custom { kind: \"b c\" path: \"/v1/x\" }",
        "get: \"/v1/x\" additional_bindings { get: \"/v1/y\" additional_bindings { get: \"/v1/z\" } }",
    ];
    let mut told = String::new();
    for rule in rules {
        told.push_str(&contracts::with(&service(&method("M", rule))).unwrap_err());
        told.push_str("\n\n");
    }
    let two = |one: &str, other: &str| contracts::with(&service(&(method("M", one) + &method("N", other))));
    told.push_str(&two("get: \"/v1/{id}/x\"", "get: \"/v1/y/{id}\"").unwrap_err());
    told.push_str("\n\n");
    told.push_str(&two("get: \"/v1/{id}\"", "get: \"/v1/{inner.id}\"").unwrap_err());
    assert!(two("get: \"/v1/{id}\"", "get: \"/v1/me\"").is_ok());
    assert!(two("get: \"/v1/{id}\"", "delete: \"/v1/{id}\"").is_ok());
    let command = "service S { rpc M(A) returns (A) { option (drawbridge.options.v1.method) = { kind: KIND_COMMAND };\n option (google.api.http) = { get: \"/v1/x\" }; } }\nmessage A {}\n";
    told.push_str("\n\n");
    told.push_str(&contracts::with(command).unwrap_err());
    let stream = |rule: &str| service(&method("M", rule).replace("(Q)", "(stream Q)"));
    for rule in
        ["post: \"/v1/{id}\" body: \"*\"", "post: \"/v1/x\" body: \"inner\"", "post: \"/v1/x\"", "get: \"/v1/x\""]
    {
        told.push_str("\n\n");
        told.push_str(&contracts::with(&stream(rule)).unwrap_err());
    }
    assert!(contracts::with(&stream("put: \"/v1/*/x\" body: \"*\" response_body: \"text\"")).is_ok());
    insta::assert_snapshot!(told);
}
