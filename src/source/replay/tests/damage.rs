//! Files that are damaged, or change while they are replayed.

use std::io::Read as _;

use super::*;

/// A damaged gzip file, its whole lines, and what is wrong with it.
fn damaged() -> [(Vec<u8>, Vec<u8>, &'static str); 4] {
    let text: Vec<u8> =
        (0..300_000u32).flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    let whole = gzip(&text);
    let half = whole[..whole.len() / 2].to_vec();
    let mut read = Vec::new();
    flate2::read::GzDecoder::new(&half[..]).read_to_end(&mut read).expect_err("cut off");
    let lines = read.iter().rposition(|byte| *byte == b'\n').expect("many lines") + 1;
    [
        (half, text[..lines].to_vec(), "cut off"),
        ([&whole[..], b"trailing junk"].concat(), text.clone(), "not gzip"),
        (whole[..whole.len() - 3].to_vec(), text, "cut off"),
        (vec![0x1f, 0x8b], Vec::new(), "cut off"),
    ]
}

#[tokio::test]
async fn all_whole_lines_of_a_damaged_file_are_delivered_before_the_error() {
    for (bytes, text, message) in damaged() {
        let lines = memchr::memchr_iter(b'\n', &text).count();
        let file = file(&bytes);
        let open = || Replay::open(file.path(), Speed::Max).expect("opened");
        assert_eq!(open().lines(), Some(lines as u64));
        // From its start, from the middle, and when all lines are stored already.
        for after in [-1, 1_000, lines as i64 - 1] {
            let run = run(open(), Some(after)).await;
            let rest = lines - ((after + 1) as usize).min(lines);
            assert_eq!(run.rows.len(), rest, "{message}, after {after}");
            assert!(run.rows.first().is_none_or(|row| row.0 == after + 1));
            let error = run.end.expect_err("damaged");
            assert!(
                matches!(&error, SourceError::Damaged { line, source, .. } if *line == lines as u64 && source.to_string().contains(message)),
                "{error:?}"
            );
        }
        let values: Vec<u8> = values(&run(open(), None).await).join(&b'\n');
        assert_eq!(values, text.strip_suffix(b"\n").unwrap_or_default());
    }
    // The last line is complete where other data follows, but perhaps not where a member is cut off.
    for (bytes, whole) in [(&b"trailing junk"[..], true), (b"\0\0junk", true), (&gzip(b"c")[..5], false)] {
        let bytes = [gzip(b"a\n"), gzip(b"b"), bytes.to_vec()].concat();
        let lines = 1 + u64::from(whole);
        assert_eq!(Replay::open(file(&bytes).path(), Speed::Max).expect("opened").lines(), Some(lines));
        let run = replayed(&bytes).await;
        assert_eq!(values(&run), &[b"a".as_slice(), b"b"][..lines as usize]);
        assert!(matches!(run.end, Err(SourceError::Damaged { line, .. }) if line == lines), "{:?}", run.end);
    }
    let zeros = [gzip(b"a\nb"), vec![0; 2_000_000]].concat();
    let run = replayed(&zeros).await;
    assert_eq!(
        (values(&run).as_slice(), run.end.as_ref().ok()),
        ([b"a".as_slice(), b"b"].as_slice(), Some(&End::Finished))
    );
}

#[tokio::test]
async fn a_repaired_file_is_a_new_stream() {
    let damaged = damaged();
    let topic =
        |bytes: &[u8]| Replay::open(file(bytes).path(), Speed::Max).expect("opened").stream().topic.clone();
    assert_eq!(topic(&damaged[0].0), topic(&damaged[0].0));
    assert_ne!(topic(&damaged[0].0), topic(&gzip(&damaged[2].1)));
}

#[cfg(unix)]
#[tokio::test]
async fn a_damaged_pipe_ends_like_a_damaged_file() {
    let folder = tempfile::tempdir().expect("a folder");
    for (n, (bytes, text, _)) in damaged().into_iter().enumerate() {
        let pipe = folder.path().join(format!("pipe-{n}"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let writing = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::write(pipe, bytes)
        });
        let run = run(Replay::open(&pipe, Speed::Max).expect("opened"), None).await;
        writing.join().expect("joined").expect("taken whole");
        let lines = memchr::memchr_iter(b'\n', &text).count();
        assert_eq!(run.rows.len(), lines);
        assert!(
            matches!(run.end, Err(SourceError::Damaged { line, .. }) if line == lines as u64),
            "{:?}",
            run.end
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_changes_after_it_was_hashed_delivers_only_hashed_lines() {
    let lines = b"0123456789\n".repeat(300_000);
    for damage in ["shrink", "rewrite", "grow"] {
        let file = file(&lines);
        let replay = Replay::open(file.path(), Speed::Max).expect("opened");
        let handle = std::fs::OpenOptions::new().write(true).open(file.path()).expect("opened");
        match damage {
            "shrink" => handle.set_len(2_000_000).expect("cut"),
            "rewrite" => drop(std::os::unix::fs::FileExt::write_all_at(&handle, b"X", 2_500_000)),
            _ => drop(std::os::unix::fs::FileExt::write_all_at(&handle, b"more\n", lines.len() as u64)),
        }
        let run = run(replay, None).await;
        assert!(values(&run).iter().all(|v| *v == b"0123456789"), "{damage}");
        if damage == "grow" {
            assert_eq!((run.end.expect("ran"), run.rows.len()), (End::Finished, 300_000));
        } else {
            let error = run.end.expect_err(damage);
            assert!(matches!(error, SourceError::Changed { .. }), "{error}");
        }
    }
}
