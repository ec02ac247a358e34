//! What `drawbridge check` finds: statements that do not fit, servers that are away, roles that are not let in.

use super::*;
use connectors::Failure;

#[tokio::test]
async fn a_statement_that_the_server_does_not_take_is_told_in_its_words() {
    let legacy = Legacy::of(
        "CREATE TABLE pat (n text, secret text); REVOKE SELECT ON pat FROM reader; GRANT SELECT (n) ON pat TO reader; CREATE TABLE seq (a integer)",
    );
    for (query, says) in [
        (
            "SELECT m AS nhs_number FROM pat",
            "binding[0].connector.query: database `legacy` does not take the statement: column \"m\" does not exist",
        ),
        ("SELECT n AS nhs_number FROM nowhere", "relation \"nowhere\" does not exist"),
        ("SELECT n AS nhs_number FORM pat", "syntax error"),
        (
            "SELECT n AS nhs_number FROM pat WHERE :nhs_number IS NULL",
            "of parameter $1 = help: say of what type the parameter is, as in `CAST(:nhs_number AS text)`",
        ),
        ("SELECT secret AS nhs_number FROM pat", "permission denied for table pat"),
        ("SELECT n AS nhs_number FROM pat WHERE n = :nhs_number::integer", "operator does not exist: text = integer"),
        ("WITH gone AS (DELETE FROM pat RETURNING n) SELECT n AS nhs_number FROM gone", "permission denied"),
        ("SELECT n AS nhs_number FROM pat FOR UPDATE", "permission denied"),
        ("SELECT a::text AS nhs_number INTO copy FROM seq", "it returns no columns"),
        (
            "SELECT n AS nhs_numbre FROM pat",
            "column `nhs_numbre` (text) fits no field: `fixture.v1.Patient` in `everything.proto` has no field `nhs_numbre`",
        ),
        ("SELECT n AS nhs_number, n AS nhs_number FROM pat", "two columns `nhs_number`"),
        ("DELETE FROM pat", "the statement begins with `DELETE`, and the gateway only reads"),
        ("SELECT * FROM pat", "selects `*`"),
    ] {
        let told = legacy.refused("Find", &format!("query = '''{query}'''")).await;
        assert!(told.contains(says), "{query}: {told}");
    }
}

#[tokio::test]
async fn a_statement_that_would_write_is_refused_though_the_role_might() {
    let legacy = Legacy::of(
        "CREATE TABLE pat (n text); INSERT INTO pat VALUES ('1'); GRANT ALL ON pat TO reader;
         CREATE FUNCTION leave() RETURNS text LANGUAGE sql AS 'INSERT INTO pat VALUES (''2'') RETURNING n'",
    );
    for query in [
        "WITH gone AS (DELETE FROM pat RETURNING n) SELECT n AS nhs_number FROM gone",
        "SELECT n AS nhs_number FROM pat FOR UPDATE",
    ] {
        let told = legacy.refused("Find", &format!("query = '''{query}'''")).await;
        assert!(told.contains("the statement would write, and the gateway only reads"), "{told}");
    }
    // Nobody sees into a function before it runs; then the session refuses.
    for method in ["Find", "All"] {
        let find = legacy.ready(method, "SELECT leave() AS nhs_number").await;
        assert_eq!(told(&find, "{}").await, Err(ConnectorError::Failed { why: Failure::ReadOnly }));
    }
    let count = legacy.ready("Find", "SELECT count(*)::text AS nhs_number FROM pat").await;
    assert_eq!(told(&count, "{}").await.unwrap(), [r#"{"nhsNumber":"1"}"#]);
}

/// What the check says of a database that is given by the lines of its table.
async fn refused(lines: &str) -> String {
    let connector = "query = \"SELECT 'x'::text AS nhs_number\"";
    let result = prepare(&format!("[database.legacy]\n{lines}"), "Find", connector, Server::shared().folder()).await;
    told_problems(&result.expect_err("it can be used"))
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_a_problem_with_a_cure() {
    let server = Server::shared();
    let database = server.database("");
    let port = server.port();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(server.folder().join("wrong"), "WRONG-CANARY").unwrap();
    for (lines, says, cure) in [
        (
            format!("url = \"postgres://reader@127.0.0.1:{nobody}/{database}\""),
            "database.legacy.url: database `legacy` cannot be used: cannot reach the legacy system: no connection to the server: connection refused",
            "start the server, or correct host, port and database in `url`",
        ),
        (
            format!("url = \"postgres://reader@127.0.0.1:{port}/nowhere\"\npassword_file = \"password\""),
            "the server has no database of this name",
            "correct host, port and database",
        ),
        (
            format!("url = \"postgres://reader@127.0.0.1:{port}/{database}\"\npassword_file = \"wrong\""),
            "does not let the gateway in: the server refuses the role's password",
            "check the role in `url`, `password_file`",
        ),
        (
            format!("url = \"postgres://reader@127.0.0.1:{port}/{database}\""),
            "the server refuses the role's password",
            "`password_file`",
        ),
        (
            format!("url = \"postgres://reader:CANARY@127.0.0.1:{port}/{database}\""),
            "database.legacy.url: the URL holds a password, which belongs in `password_file`",
            "write it as in `postgres://role@host:5432/database`",
        ),
        (
            format!("url = \"postgres://reader@127.0.0.1:{port}/{database}\"\npassword_file = \"none\""),
            "database.legacy.password_file: `password_file` cannot be read",
            "relative to this file",
        ),
    ] {
        let told = refused(&lines).await;
        assert!(told.contains(says) && told.contains(cure), "{lines}: {told}");
        assert!(!told.contains("CANARY"), "{told}");
    }
    assert!(refused("url = \"oracle://x\"").await.contains("`oracle` is not a database that the gateway knows"));
    assert!(
        refused("url = \"sqlite:x.db\"\npassword_file = \"p\"")
            .await
            .contains("a SQLite database has no key `password_file`")
    );
}

#[tokio::test]
async fn a_new_password_is_read_without_a_restart() {
    let server = Server::start("scram-sha-256");
    let database = server.database("CREATE TABLE pat (n text); INSERT INTO pat VALUES ('1')");
    let find =
        prepare(&server.table(&database, ""), "Find", "query = \"SELECT n AS nhs_number FROM pat\"", server.folder())
            .await
            .unwrap();
    let change = "ALTER ROLE reader PASSWORD 'new'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'";
    server.run_in("postgres", change).await;
    let error = until("the refusal", async || told(&find, "{}").await.err()).await;
    assert!(matches!(error, ConnectorError::Credentials { .. }), "{error}");
    std::fs::write(server.folder().join("password"), "new\n").unwrap();
    assert!(told(&find, "{}").await.is_ok());
}

#[tokio::test]
async fn tls_is_verified_against_the_authority_named() {
    let server = Server::start("scram-sha-256");
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut named = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    named.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = named.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(named, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(server.folder().join("ca.pem"), root.pem()).unwrap();
    std::fs::write(server.folder().join("stranger.pem"), stranger.cert.pem()).unwrap();
    std::fs::write(server.folder().join("server.pem"), certificate.pem()).unwrap();
    server.secret("server.key", &key.serialize_pem());
    let folder = server.folder().display();
    server.configure(&format!("ssl = on\nssl_cert_file = '{folder}/server.pem'\nssl_key_file = '{folder}/server.key'"));
    server.stop();
    server.start_again();

    let database = server.database("");
    let query = "query = \"SELECT version AS nhs_number FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl\"";
    let find = prepare(&server.table(&database, "ca = \"ca.pem\""), "Find", query, server.folder()).await.unwrap();
    assert_eq!(told(&find, "{}").await.unwrap(), [r#"{"nhsNumber":"TLSv1.3"}"#]);
    assert!(!find.iter().next().unwrap().dangerous_plaintext());

    let problems = prepare(&server.table(&database, "ca = \"stranger.pem\""), "Find", query, server.folder()).await;
    let told = told_problems(&problems.err().unwrap());
    assert!(
        told.contains("the legacy system is not trusted: no TLS with the server: invalid peer certificate"),
        "{told}"
    );
    assert!(told.contains("`ca` names who may have signed its certificate"), "{told}");
}
