//! The gateway's sessions: what they may, how many there are, and what becomes of them when the server restarts.

use super::*;

#[tokio::test]
async fn a_session_says_who_it_is_and_only_reads() {
    let legacy = Legacy::of("");
    let expression = "concat_ws(' ', current_setting('application_name'), current_setting('default_transaction_read_only'),
        current_setting('transaction_read_only'), current_setting('lock_timeout'), current_setting('client_connection_check_interval'),
        current_setting('client_min_messages'))";
    for method in ["Find", "All"] {
        let find = legacy.ready(method, &format!("SELECT {expression} AS nhs_number")).await;
        assert_eq!(told(&find, "{}").await.unwrap(), [r#"{"nhsNumber":"drawbridge on on 2s 1s error"}"#]);
    }
}

#[tokio::test]
async fn there_are_never_more_sessions_than_configured() {
    let legacy = Legacy::of("").with("connections = 3");
    let find = legacy.ready("Find", "SELECT pg_backend_pid() AS visits FROM pg_sleep(0.01)").await;
    let sessions = format!("datname = '{}'", legacy.name);
    let (mut most, mut processes) = (0, std::collections::BTreeSet::new());
    let asks = futures_util::future::join_all((0..60).map(|_| told(&find, "{}")));
    let mut asks = std::pin::pin!(asks);
    let answers = loop {
        tokio::select! {
            answers = &mut asks => break answers,
            now = legacy.server.sessions(&sessions) => most = most.max(now),
        }
    };
    for answer in answers {
        processes.extend(answer.unwrap());
    }
    assert!(most <= 3, "{most} sessions");
    assert_eq!(processes.len(), 3, "{processes:?}");

    // Whoever waits for one waits no longer than its deadline, and finds one when it is free.
    let held = legacy.ready("All", "SELECT generate_series(1, 9000000000000000000)::bigint AS visits").await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut answer = ask(&held, "{}", None).await.unwrap();
        assert!(answer.messages.next().await.unwrap().is_ok());
        readers.push(answer);
    }
    assert_eq!(ask(&held, "{}", Some(in_millis(50))).await.unwrap_err(), ConnectorError::Timeout);
    // That all are in use is no ill health.
    held.iter().next().unwrap().health().await.unwrap();
    readers.pop();
    assert!(ask(&held, "{}", Some(in_millis(10_000))).await.is_ok());
}

#[tokio::test]
async fn a_restart_of_the_server_costs_no_question_that_comes_after_it() {
    let server = Server::start("scram-sha-256");
    let database = server.database("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)");
    for (method, query) in [("Find", "SELECT a AS visits FROM t"), ("All", "SELECT a AS visits FROM t")] {
        let table = server.table(&database, "connections = 2");
        let find = prepare(&table, method, &format!("query = \"{query}\""), server.folder()).await.unwrap();
        for _ in 0..3 {
            // Both connections are open before.
            let (one, two) = futures_util::future::join(told(&find, "{}"), told(&find, "{}")).await;
            assert_eq!((one.unwrap().len(), two.unwrap().len()), (1, 1));
            server.stop();
            server.start_again();
            assert_eq!(told(&find, "{}").await.unwrap(), [r#"{"visits":"1"}"#]);
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_server_ends_is_an_error_and_not_an_end() {
    let legacy = Legacy::of("");
    let all = legacy.ready("All", "SELECT generate_series(1, 9000000000000000000)::bigint AS visits").await;
    let mut answer = ask(&all, "{}", None).await.unwrap();
    assert!(answer.messages.next().await.unwrap().is_ok());
    let end =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'", legacy.name);
    assert_eq!(legacy.server.told::<i64>(&end).await, 1);
    let error = loop {
        match answer.messages.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the stream ended as if it were whole"),
        }
    };
    assert_eq!(error, ConnectorError::Failed { why: connectors::Failure::ConnectionLost });
    assert!(ask(&all, "{}", None).await.is_ok());
}
