//! Lines, identities, positions, encodings, pace; [`damage`] has the rest.

mod damage;

use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::market::{RecordRef, Records};
use crate::source::record::{Existing, Recorder, envelope};
use crate::source::{SourceKind, SourceStatus};

type Row = (i64, Option<String>, Vec<u8>, String, Option<String>);

struct Run {
    rows: Vec<Row>,
    batches: usize,
    status: SourceStatus,
    end: Result<End, SourceError>,
}

async fn run(replay: Replay, resume_after: Option<i64>) -> Run {
    let (deliveries, mut received) = mpsc::channel(2);
    let (status, seen) = watch::channel(SourceStatus::starting(SourceKind::Replay, 0));
    let stream = replay.stream().clone();
    let task = tokio::spawn(
        replay.run(Outlet { deliveries, status, cancel: CancellationToken::new() }, resume_after),
    );
    let (mut rows, mut batches) = (Vec::new(), 0);
    while let Some(delivery) = received.recv().await {
        assert_eq!(delivery.stream.as_ref(), Some(&stream));
        batches += 1;
        rows.extend(delivery.records.iter().map(|r| {
            (
                r.offset,
                r.key.map(str::to_owned),
                r.value.to_vec(),
                r.source.to_owned(),
                r.headers.map(str::to_owned),
            )
        }));
    }
    let end = task.await.expect("joined");
    let status = seen.borrow().clone();
    Run { rows, batches, status, end }
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("written");
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

async fn replayed(bytes: &[u8]) -> Run {
    let file = file(bytes);
    run(Replay::open(file.path(), Speed::Max).expect("opened"), None).await
}

fn envelope(record: RecordRef<'_>) -> String {
    let mut line = String::new();
    envelope::write(&mut line, record);
    line
}

fn values(run: &Run) -> Vec<&[u8]> {
    run.rows.iter().map(|row| row.2.as_slice()).collect()
}

#[tokio::test]
async fn every_line_is_a_record() {
    let run = replayed(b"{\"a\":1}\n\n \r\n\xff\xfe\nlast").await;
    assert_eq!(values(&run), [b"{\"a\":1}".as_slice(), b"", b" \r", b"\xff\xfe", b"last"]);
    assert_eq!(run.rows.iter().map(|r| r.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(run.rows.iter().all(|r| r.1.is_none() && r.3 == "replay" && r.4.is_none()));
    assert_eq!(run.end.expect("ran"), End::Finished);
    assert_eq!((run.status.state, run.status.records), (SourceState::Finished, 5));
    for (bytes, lines) in [("", 0), ("\n", 1), ("a", 1), ("a\n", 1), ("a\n\n", 2)] {
        let file = file(bytes.as_bytes());
        let replay = Replay::open(file.path(), Speed::Max).expect("opened");
        assert_eq!(replay.lines(), Some(lines), "{bytes:?}");
        assert_eq!(super::tests::run(replay, None).await.rows.len() as u64, lines, "{bytes:?}");
    }
}

#[tokio::test]
async fn plain_and_gzip_files_of_the_same_content_are_the_same_stream() {
    let text = b"a\nb\nc\n";
    let packed = [gzip(b"a\nb"), gzip(b"\nc\n")].concat();
    let streams: Vec<Stream> = [text.to_vec(), gzip(text), packed]
        .iter()
        .map(|bytes| Replay::open(file(bytes).path(), Speed::Max).expect("opened").stream().clone())
        .collect();
    assert_eq!(streams[0].topic, Arc::from(format!("replay:{}", blake3::hash(text).to_hex())));
    assert!(streams.iter().all(|s| *s == streams[0]));
    let run = replayed(&[gzip(b"a\nb"), gzip(b"\nc\n")].concat()).await;
    assert_eq!(values(&run), [b"a", b"b", b"c"]);
}

#[tokio::test]
async fn a_replay_resumes_after_an_offset() {
    let file = file(b"0\n1\n2\n3\n");
    for (after, first) in
        [(None, 0), (Some(-1), 0), (Some(0), 1), (Some(2), 3), (Some(3), 4), (Some(i64::MAX), 4)]
    {
        let run = run(Replay::open(file.path(), Speed::Max).expect("opened"), after).await;
        assert_eq!(run.rows.iter().map(|r| r.0).collect::<Vec<_>>(), (first..4).collect::<Vec<_>>());
        assert_eq!(run.status.state, SourceState::Finished);
    }
}

#[tokio::test]
async fn envelopes_give_their_records_and_invalid_ones_are_values() {
    let record = RecordRef {
        offset: 0,
        key: Some("k"),
        value: b"\xff\n",
        source: "coingecko",
        headers: Some("{\"a\":1}"),
        produced_at: 7,
    };
    let line = envelope(record);
    let invalid = "{\"cryptostream_record\":1}";
    let run = replayed(format!("{line}\n{invalid}\n").as_bytes()).await;
    assert_eq!(
        run.rows[0],
        (0, Some("k".into()), b"\xff\n".to_vec(), "coingecko".into(), Some("{\"a\":1}".into()))
    );
    assert_eq!(run.rows[1], (1, None, invalid.into(), "replay".into(), None));
}

#[tokio::test]
async fn lines_longer_than_a_block_and_many_lines_are_delivered_whole() {
    let long = vec![b'x'; 3 << 20];
    let many: Vec<u8> = (0..20_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    let run = replayed(&[&many[..], &long, b"\n", &many].concat()).await;
    assert_eq!(run.rows.len(), 40_001);
    assert_eq!(run.rows[20_000].2, long);
    assert_eq!(run.rows[40_000].2, b"19999");
    assert!(run.batches > 4);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_an_error_after_the_lines_before_it() {
    let run = replayed(&[b"a\n".as_slice(), &vec![b'x'; MAX_LINE + 2]].concat()).await;
    assert_eq!(values(&run), [b"a"]);
    let error = run.end.expect_err("too long");
    assert!(matches!(error, SourceError::LongLine { line: 2, .. }), "{error}");
}

#[test]
fn errors_of_opening_name_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Replay::open(&folder.path().join("none.ndjson"), Speed::Max).expect_err("missing");
    assert!(missing.to_string().contains("none.ndjson"), "{missing}");
    assert!(matches!(Replay::open(folder.path(), Speed::Max), Err(SourceError::Directory { .. })));
}

#[tokio::test]
async fn a_byte_order_mark_is_skipped_and_other_encodings_are_refused() {
    for bytes in [b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n".to_vec(), gzip(b"\xef\xbb\xbfa\n\xef\xbb\xbfb")] {
        assert_eq!(values(&replayed(&bytes).await), [b"a".as_slice(), b"\xef\xbb\xbfb"], "the first only");
    }
    let line =
        envelope(RecordRef { offset: 0, key: None, value: b"v", source: "s", headers: None, produced_at: 7 });
    assert_eq!(values(&replayed(format!("\u{feff}{line}").as_bytes()).await), [b"v"]);
    for (text, lines) in [("\u{feff}", 0), ("\u{feff}\n", 1), ("\u{feff}x", 1)] {
        let file = file(text.as_bytes());
        assert_eq!(Replay::open(file.path(), Speed::Max).expect("opened").lines(), Some(lines), "{text:?}");
        assert_eq!(replayed(text.as_bytes()).await.rows.len() as u64, lines, "{text:?}");
    }
    let wide = |order: fn(u16) -> [u8; 2]| "\u{feff}{}\n".encode_utf16().flat_map(order).collect::<Vec<u8>>();
    for bytes in [
        wide(u16::to_le_bytes),
        wide(u16::to_be_bytes),
        gzip(&wide(u16::to_le_bytes)),
        b"\0\0\xfe\xff\0\0\0{".to_vec(),
    ] {
        let run = replayed(&bytes).await;
        assert!(run.rows.is_empty() && matches!(run.end, Err(SourceError::Encoding { .. })), "{:?}", run.end);
    }
}

#[tokio::test]
async fn recorded_records_are_replayed_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut records = Records::new();
    let rows = [
        RecordRef {
            offset: 0,
            key: Some("bitcoin"),
            value: b"{\"a\": 1}",
            source: "coingecko",
            headers: None,
            produced_at: 5,
        },
        RecordRef {
            offset: 1,
            key: None,
            value: b"",
            source: "s",
            headers: Some("{\"fill_from\":1}"),
            produced_at: -6,
        },
        RecordRef {
            offset: 2,
            key: Some(""),
            value: b"\x00\xff\r\n",
            source: "",
            headers: Some("{}"),
            produced_at: 7,
        },
    ];
    for row in rows {
        records.push(row);
    }
    for name in ["out.ndjson", "out.ndjson.gz"] {
        let path = folder.path().join(name);
        let mut recorder = Recorder::create(&path, Existing::Keep).expect("created");
        for _ in 0..2 {
            recorder.write(&Delivery { stream: None, records: records.clone() }).expect("written");
            recorder.flush().expect("flushed");
        }
        recorder.finish().expect("named");
        let run = run(Replay::open(&path, Speed::Max).expect("opened"), None).await;
        let expected: Vec<Row> = (0..2)
            .flat_map(|_| rows.iter())
            .zip(0..)
            .map(|(r, n)| {
                (n, r.key.map(Into::into), r.value.to_vec(), r.source.into(), r.headers.map(Into::into))
            })
            .collect();
        assert_eq!(run.rows, expected, "{name}");
    }
}

#[tokio::test]
async fn a_paced_replay_keeps_the_time_between_lines() {
    let line = |second: u32| format!("{{\"event_time\":{}}}\n", 1_747_008_000 + second);
    let text = [line(0), line(0), line(60), "junk\n".into(), line(30), line(120)].concat();
    let file = file(text.as_bytes());
    let replay = Replay::open(file.path(), Speed::Times(1200.0)).expect("opened");
    let (deliveries, mut received) = mpsc::channel(2);
    let (status, _seen) = watch::channel(SourceStatus::starting(SourceKind::Replay, 0));
    let started = Instant::now();
    let task =
        tokio::spawn(replay.run(Outlet { deliveries, status, cancel: CancellationToken::new() }, None));
    let mut seen = Vec::new();
    while let Some(delivery) = received.recv().await {
        seen.push((started.elapsed().as_millis(), delivery.records.len()));
    }
    assert_eq!(task.await.expect("joined").expect("ran"), End::Finished);
    assert_eq!(seen.iter().map(|s| s.1).collect::<Vec<_>>(), [2, 3, 1]);
    assert!(seen[1].0 >= 50 && seen[2].0 >= 100, "never early: {seen:?}");
}

#[tokio::test]
async fn it_stops_when_cancelled() {
    let file = file(&b"{\"event_time\":1747008000}\n".repeat(100_000));
    let replay = Replay::open(file.path(), Speed::Max).expect("opened");
    let (deliveries, received) = mpsc::channel(1);
    let (status, _seen) = watch::channel(SourceStatus::starting(SourceKind::Replay, 0));
    let cancel = CancellationToken::new();
    let task = tokio::spawn(replay.run(Outlet { deliveries, status, cancel: cancel.clone() }, None));
    cancel.cancel();
    assert_eq!(task.await.expect("joined").expect("ran"), End::Stopped);
    drop(received);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_lines_of_any_content_are_its_records(lines in proptest::collection::vec(any::<Vec<u8>>(), 0..20), end in any::<bool>()) {
        let lines: Vec<Vec<u8>> = lines.into_iter().map(|l| l.into_iter().filter(|b| *b != b'\n').collect()).collect();
        let mut content = lines.join(&b'\n');
        let mut expected = if lines.is_empty() { vec![] } else { lines };
        if end && !expected.is_empty() {
            content.push(b'\n');
        } else if expected.last().is_some_and(Vec::is_empty) {
            expected.pop();
        }
        // These bytes at the start would make it gzip, or text in another encoding.
        let marks = [&b"\x1f\x8b"[..], b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"];
        prop_assume!(!marks.iter().any(|mark| content.starts_with(mark)));
        for bytes in [content.clone(), gzip(&content)] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let run = runtime.block_on(replayed(&bytes));
            prop_assert_eq!(run.rows.into_iter().map(|r| r.2).collect::<Vec<_>>(), expected.clone());
        }
    }
}
