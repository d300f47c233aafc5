//! Existing files, failed writes, cancellation.

use super::*;
use crate::market::{RecordRef, Records};

/// A writer with space for this number of bytes.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let n = bytes.len().min(self.0);
        self.0 -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn delivery() -> Delivery {
    let mut records = Records::new();
    records.push(RecordRef { offset: 0, key: None, value: b"x", source: "s", headers: None, produced_at: 1 });
    Delivery { stream: None, records }
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_names_the_recording() {
    let (sender, receiver) = mpsc::channel(1);
    sender.send(delivery()).await.expect("room");
    drop(sender);
    let error = Recorder::to("out.ndjson", Box::new(Disk(10)), false)
        .run(receiver, CancellationToken::new())
        .await
        .expect_err("full");
    assert_eq!(error.to_string(), "cannot write the recording 'out.ndjson'");
}

fn recorded(path: &Path, existing: Existing, deliveries: usize) -> Result<u64, SourceError> {
    let mut recorder = Recorder::create(path, existing)?;
    (0..deliveries).try_for_each(|_| recorder.write(&delivery()).and_then(|()| recorder.flush()))?;
    recorder.finish()
}

#[test]
fn a_recording_gets_its_name_at_its_end_and_only_with_records() {
    let folder = tempfile::tempdir().unwrap();
    let names = || fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    let path = folder.path().join("a.ndjson");
    let mut recorder = Recorder::create(&path, Existing::Keep).unwrap();
    recorder.write(&delivery()).unwrap();
    recorder.flush().unwrap();
    assert_eq!(names(), ["a.ndjson.partial"]);
    let second = Recorder::create(&path, Existing::Replace).unwrap_err();
    assert!(second.to_string().contains("another recorder"), "{second}");
    assert_eq!(recorder.finish().unwrap(), 1);
    assert_eq!(names(), ["a.ndjson"]);
    let whole = fs::read(&path).unwrap();
    assert_eq!(recorded(&path, Existing::Replace, 0).unwrap(), 0, "an empty recording replaces nothing");
    assert!(matches!(recorded(&path, Existing::Keep, 1), Err(SourceError::Refused(_))));
    assert_eq!((names(), fs::read(&path).unwrap()), (vec!["a.ndjson".into()], whole.clone()));
    // As a killed recorder leaves it.
    fs::write(folder.path().join("a.ndjson.partial"), &whole).unwrap();
    let left = recorded(&path, Existing::Replace, 1).unwrap_err();
    assert!(
        left.to_string().contains("a.ndjson.partial' holds the records of a recorder that was killed"),
        "{left}"
    );
    assert_eq!(fs::read(folder.path().join("a.ndjson.partial")).unwrap(), whole);
}

#[test]
fn appended_records_follow_a_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    assert_eq!(recorded(&path, Existing::Append, 1).unwrap(), 1, "to a new file");
    fs::write(&path, "old").unwrap();
    assert_eq!(recorded(&path, Existing::Append, 0).unwrap(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    recorded(&path, Existing::Append, 2).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.starts_with("old\n{\"crypto") && text.ends_with("}\n") && text.lines().count() == 3,
        "{text}"
    );
    // Whether it is gzip is decided by its content, not its name.
    for (old, is_valid) in [
        (member(b"old").unwrap(), true),
        ([member(b"old\n").unwrap(), member(b"").unwrap()].concat(), true),
        ([member(b"old\n").unwrap(), vec![0; 9]].concat(), false),
        (member(&b"old\n".repeat(99)).unwrap()[..20].to_vec(), false),
    ] {
        fs::write(&path, &old).unwrap();
        let appended = recorded(&path, Existing::Append, 2);
        if is_valid {
            let mut text = String::new();
            MultiGzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
            assert!(text.starts_with("old\n{\"crypto") && text.lines().count() == 3, "{text}");
        } else {
            assert!(matches!(appended, Err(SourceError::Refused(_))), "{appended:?}");
            assert_eq!(fs::read(&path).unwrap(), old);
        }
    }
}

#[test]
fn a_failed_write_leaves_the_flushed_records() {
    let folder = tempfile::tempdir().unwrap();
    let (path, partial) = (folder.path().join("a.ndjson"), folder.path().join("a.ndjson.partial"));
    for (flushed, kept) in [(0, ""), (2, "; its first 2 records are in")] {
        let mut recorder = Recorder::create(&path, Existing::Keep).unwrap();
        (0..flushed).try_for_each(|_| recorder.write(&delivery()).and_then(|()| recorder.flush())).unwrap();
        let whole = fs::read(&partial).unwrap();
        recorder.output.write(b"{\"half").unwrap();
        let error = recorder.failed(io::ErrorKind::StorageFull.into()).to_string();
        assert!(error.starts_with("cannot write the recording") && error.contains(kept), "{error}");
        assert_eq!(fs::read(&partial).ok(), (flushed > 0).then_some(whole));
        assert!(!path.exists());
    }
}

#[test]
fn recording_into_the_input_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (input, hard, soft) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    fs::write(&input, "x\n").unwrap();
    fs::hard_link(&input, &hard).unwrap();
    std::os::unix::fs::symlink(&input, &soft).unwrap();
    for path in
        [&input, &hard, &soft, &folder.path().join("../").join(folder.path().file_name().unwrap()).join("a")]
    {
        assert!(matches!(refuse_input(path, &input), Err(SourceError::Refused(_))), "{}", path.display());
    }
    refuse_input(&folder.path().join("new"), &input).unwrap();
    refuse_input(Path::new("/dev/null"), Path::new("/dev/null")).unwrap();
}

#[tokio::test]
async fn deliveries_before_the_cancellation_are_recorded() {
    let (sender, receiver) = mpsc::channel(4);
    let cancel = CancellationToken::new();
    sender.send(delivery()).await.expect("room");
    sender.send(delivery()).await.expect("room");
    cancel.cancel();
    let count = Recorder::to("x", Box::new(io::sink()), true).run(receiver, cancel).await.expect("recorded");
    assert_eq!(count, 2);
}
