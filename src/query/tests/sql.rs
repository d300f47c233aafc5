//! What a user's SQL can read, what it returns, and what it cannot reach.

use super::*;

async fn sql(queries: &Queries, text: &str) -> Result<SqlAnswer, QueryError> {
    queries.sql(text.to_owned(), Duration::from_mins(1), &CancellationToken::new()).await
}

/// The answer as CSV, without the header.
async fn csv(queries: &Queries, text: &str) -> String {
    let mut out = Vec::new();
    output::write_answer(&mut out, output::Format::Csv, &sql(queries, text).await.unwrap(), None).unwrap();
    String::from_utf8(out).unwrap().split_once('\n').unwrap().1.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_sql_can_calculate_with_the_times_of_all_tables() {
    let folder = tempfile::tempdir().unwrap();
    // Every character that could be taken for a pattern, the end of a literal, or a partition.
    let root = folder.path().join("it's [a] *very* odd?/date=1999-01-01/source=x");
    two_days(&storage(&root)).await;
    let queries = Queries::open(storage(&root), None).unwrap();
    assert_eq!(queries.candles(ask(Interval::Minute1, None, None)).await.unwrap().total, 6);
    let rows = [
        (
            "SELECT date, count(*), count(volume) FROM gold GROUP BY date ORDER BY date",
            "2025-05-12,5,3\n2025-05-13,4,2",
        ),
        ("SELECT DISTINCT source FROM gold ORDER BY 1", "binance\nkraken"),
        (
            "SELECT min(window_start), max(window_end) FROM gold WHERE date = '2025-05-13'",
            "2025-05-13T00:00:00Z,2025-05-13T00:08:00Z",
        ),
        (
            "SELECT count(*) FROM gold WHERE window_start >= '2025-05-13 00:00:00' AND window_start < TIMESTAMP '2025-05-13' + INTERVAL 5 MINUTE",
            "3",
        ),
        (
            "SELECT date_trunc('hour', window_start) AS h, count(*) FROM gold GROUP BY h ORDER BY h",
            "2025-05-12T23:00:00Z,5\n2025-05-13T00:00:00Z,4",
        ),
        ("SELECT count(*) FROM gold WHERE window_start < now() - INTERVAL 1 HOUR AND date <= today()", "9"),
        ("SELECT count(*) FROM silver", "0"),
        (
            "SELECT column_name, column_type FROM (DESCRIBE gold) LIMIT 3",
            "window_start,TIMESTAMP\nwindow_end,TIMESTAMP\ncoin_id,VARCHAR",
        ),
        (
            "SELECT a.coin_id FROM gold a JOIN gold b USING (window_start, coin_id) WHERE a.quote < b.quote",
            "bitcoin",
        ),
        ("  explain analyze select 1 ; ", ""),
    ];
    for (text, expected) in rows {
        if expected.is_empty() {
            assert!(!sql(&queries, text).await.unwrap().rows.is_empty(), "{text}");
        } else {
            assert_eq!(csv(&queries, text).await, expected, "{text}");
        }
    }
    for text in [
        "DESCRIBE gold",
        "SUMMARIZE gold",
        "SHOW TABLES",
        "FROM gold LIMIT 1",
        "TABLE gold",
        "PIVOT gold ON quote IN ('usd', 'eur') USING count(*)",
    ] {
        assert!(!sql(&queries, text).await.unwrap().rows.is_empty(), "{text}");
    }
    // Only files of the day are opened.
    let plan = format!(
        "{:?}",
        sql(&queries, "EXPLAIN ANALYZE SELECT sum(close_price) FROM gold WHERE date = '2025-05-12'")
            .await
            .unwrap()
    );
    assert!(plan.contains("Scanning Files: 1/3"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_come_out_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let values = [
        (
            "true, NULL, 1::TINYINT, '-170141183460469231731687303715884105728'::HUGEINT, 18446744073709551615::UBIGINT",
            "true,,1,-170141183460469231731687303715884105728,18446744073709551615",
        ),
        ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"),
        (
            "0.10::DECIMAL(5,2), 12345678901234567890123456789.01::DECIMAL(38,2), 0.1::FLOAT, 0.1::DOUBLE, 8714::DOUBLE, 1e300::DOUBLE",
            "0.10,12345678901234567890123456789.01,0.1,0.1,8714.0,1e300",
        ),
        ("'nan'::DOUBLE, '-inf'::DOUBLE", "NaN,-Infinity"),
        (
            "TIMESTAMP '2025-01-02 03:04:05', TIMESTAMP '2025-01-02 03:04:05.678', TIMESTAMP_NS '2025-01-02 03:04:05.000000001', TIMESTAMP_S '2025-01-02 03:04:05', TIMESTAMP 'infinity', TIMESTAMP '2025-01-02 03:04:05.5', TIMESTAMP '2025-01-02 03:04:05.12345'",
            "2025-01-02T03:04:05Z,2025-01-02T03:04:05.678Z,2025-01-02T03:04:05.000000001Z,2025-01-02T03:04:05Z,infinity,2025-01-02T03:04:05.500Z,2025-01-02T03:04:05.123450Z",
        ),
        (
            "DATE '2025-01-02', TIME '03:04:05.5', INTERVAL '1 month 2 days', '101'::BIT, 12345678901234567890123::BIGNUM",
            "2025-01-02,03:04:05.5,1 month 2 days,101,12345678901234567890123",
        ),
        (
            "'a'::ENUM('a', 'b'), 'x\\x00'::BLOB, 'it''s', 'a,b', 'say \"hi\"'",
            "a,x\\x00,it's,\"a,b\",\"say \"\"hi\"\"\"",
        ),
        (
            "[1, NULL], {'a': TIMESTAMP '2025-01-02 03:04:05', 'b': [NULL]}, MAP {'k': 1.5}, union_value(n := 1), '{\"j\": 1}'::JSON",
            "\"[1,null]\",\"{\"\"a\"\":\"\"2025-01-02 03:04:05\"\",\"\"b\"\":[null]}\",\"{\"\"k\"\":1.5}\",\"{\"\"n\"\":1}\",\"{\"\"j\"\": 1}\"",
        ),
    ];
    for (values, expected) in values {
        assert_eq!(csv(&queries, &format!("SELECT {values}")).await, expected, "{values}");
    }
    assert_eq!(
        csv(&queries, "SELECT i, [i] AS l FROM range(3) r(i) ORDER BY i DESC; ").await,
        "2,[2]\n1,[1]\n0,[0]"
    );
    assert_eq!(sql(&queries, "SELECT 1 AS a, [1] AS a").await.unwrap().columns, ["a", "a"]);
    let zoned = csv(&queries, "SELECT get_current_timestamp()").await;
    assert!(zoned.contains('T') && zoned.ends_with('Z'), "{zoned}");
    let far = "SELECT 'infinity'::TIMESTAMPTZ, '-infinity'::TIMESTAMPTZ, NULL::TIMESTAMPTZ, '-infinity'::TIMESTAMP, '0044-03-15 (BC) 12:00:00'::TIMESTAMP";
    assert_eq!(csv(&queries, far).await, "infinity,-infinity,,-infinity,0044-03-15 (BC) 12:00:00");
    for text in [
        "select [1, 2]; -- a list",
        "select [1, 2] /* a list */ ;",
        "select [1, 2] -- a; list",
        "-- a list\nselect [1, 2]\n;\n",
    ] {
        assert_eq!(csv(&queries, text).await, "\"[1,2]\"", "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_sql_reaches_nothing_but_the_live_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("sto'rage");
    let mut gold = two_days(&storage(&root)).await;
    put(&mut gold, Some("2025-05-12"), &flat([(0, 1.0)]), |file| file.date() == Some("2025-05-12")).await;
    let queries = Queries::open(storage(&root), None).unwrap();
    std::fs::write(folder.path().join("secret.csv"), "a\n1\n").unwrap();
    std::fs::write(root.join("inside.csv"), "a\n1\n").unwrap();
    let live = gold.files().next().map(|file| gold.absolute(file)).unwrap();
    let bytes = std::fs::read(&live).unwrap();
    let quoted = |path: &Path| path.display().to_string().replace('\'', "''");
    for path in [
        folder.path().join("secret.csv"),
        root.join("inside.csv"),
        root.join("gold/crypto_metrics_1m/_delta_log/00000000000000000000.json"),
    ] {
        for text in [
            "SELECT * FROM '{}'",
            "SELECT * FROM read_csv('{}')",
            "SELECT * FROM read_text('{}')",
            "SELECT * FROM read_blob('{}')",
            "SELECT * FROM read_json('{}')",
            "SELECT * FROM glob('{}')",
        ] {
            let answer = sql(&queries, &text.replace("{}", &quoted(&path))).await;
            assert!(matches!(answer, Err(QueryError::Sql(_))), "{text}: {answer:?}");
        }
    }
    let everywhere = [quoted(&live), quoted(&folder.path().join("out")), quoted(&root.join("out"))];
    for path in &everywhere {
        for text in [
            "COPY (SELECT 1) TO '{}'",
            "WITH x AS (COPY (SELECT 1) TO '{}') SELECT * FROM x",
            "SELECT * FROM query('COPY (SELECT 1) TO ''{}''')",
            "ATTACH '{}' AS a",
            "EXPORT DATABASE '{}'",
            "SELECT * FROM enable_logging(storage = 'file', storage_path = '{}')",
        ] {
            assert!(sql(&queries, &text.replace("{}", path)).await.is_err(), "{text}");
        }
    }
    for text in [
        "SET enable_external_access = true",
        "INSTALL icu",
        "LOAD icu",
        "SELECT 1; SELECT 2",
        "DROP VIEW gold",
        "",
    ] {
        assert!(sql(&queries, text).await.is_err(), "{text}");
    }
    assert_eq!(std::fs::read(&live).unwrap(), bytes);
    assert!(!folder.path().join("out").exists() && !root.join("out").exists());
    let error = sql(&queries, "SELECT nothing FROM gold").await.unwrap_err().to_string();
    assert!(
        error.contains("\"nothing\"") && error.contains("LINE 1: SELECT nothing"),
        "the position is in the user's text: {error}"
    );
    for (text, message) in [
        ("SELECT 'abc'::INT", "Conversion Error: Could not convert string 'abc' to INT32"),
        (
            "SELECT coin_id::INT FROM gold",
            "Conversion Error: Could not convert string 'bitcoin' to INT32 when casting from source column coin_id",
        ),
        ("SELECT error('boom')", "Invalid Input Error: boom"),
    ] {
        assert_eq!(
            sql(&queries, text).await.unwrap_err().to_string(),
            message,
            "no position in a text that the user did not write: {text}"
        );
    }
    let internal = sql(&queries, "SELECT * FROM query('SELECT ?')").await.unwrap_err().to_string();
    assert!(!internal.contains("Stack Trace") && !internal.contains("0x"), "{internal}");
    assert_eq!(csv(&queries, "SELECT count(*) FROM gold").await, "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_sql_that_takes_too_long_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let endless =
        "SELECT count(*) FROM range(10000000000) a, range(10000000000) b WHERE a.range % 7 = b.range % 11";
    let answer = queries.sql(endless.into(), Duration::from_millis(200), &CancellationToken::new()).await;
    assert!(matches!(answer, Err(QueryError::Timeout(_))), "{answer:?}");
    let cancel = CancellationToken::new();
    let (answer, ()) =
        tokio::join!(queries.sql(endless.into(), Duration::from_mins(1), &cancel), async { cancel.cancel() });
    assert!(matches!(answer, Err(QueryError::Interrupted)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_bytes_and_memory_of_a_query_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let queries = Queries::open(storage(folder.path()), None).unwrap();
    let answer = sql(&queries, "SELECT * FROM range(2000000)").await;
    assert!(matches!(answer, Err(QueryError::TooManyRows(_))), "{answer:?}");
    let answer = sql(&queries, "SELECT repeat('x', 2000) FROM range(1000000)").await;
    assert!(matches!(answer, Err(QueryError::TooLarge(_))), "{answer:?}");
    let answer = sql(&queries, "SELECT list(i) FROM range(1000000000) t(i)").await;
    assert!(matches!(answer, Err(QueryError::OutOfMemory(_))), "{answer:?}");
    // Twice what fits in memory.
    let sorted = "SELECT count(*) FROM (SELECT i, md5(i::VARCHAR) AS h FROM range(16000000) t(i) ORDER BY h)";
    assert_eq!(csv(&queries, sorted).await, "16000000");
}
