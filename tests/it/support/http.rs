//! An HTTP server on loopback that answers from a script: one [`Answer`] per request, the last one repeatedly.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How one request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Full {
        status: u16,
        /// Headers apart from `Content-Length` and `Connection`.
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Announces a longer body than this one, then closes the connection.
    CutOff(Vec<u8>),
    /// Closes the connection without an answer.
    HangUp,
    /// Waits for this long, then closes the connection without an answer.
    Silence(Duration),
}

impl Answer {
    /// JSON with status 200.
    pub(crate) fn json(body: &str) -> Self {
        Self::status(200, body)
    }

    /// JSON with this status.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Full { status, headers: vec![("Content-Type", "application/json".into())], body: body.into() }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Full { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    /// Compresses the body.
    pub(crate) fn gzip(self) -> Self {
        let Self::Full { status, headers, body } = self else { return self };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body).expect("in memory");
        Self::Full { status, headers, body: encoder.finish().expect("in memory") }
            .header("Content-Encoding", "gzip")
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Path and query.
    pub(crate) path: String,
    /// Header lines, names lower-cased.
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct Script {
    markets: VecDeque<Answer>,
    charts: VecDeque<Answer>,
    requests: Vec<Request>,
}

/// The server; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers `/coins/markets` from `markets` and `/coins/{id}/market_chart` from `charts`.
    pub(crate) async fn start(markets: Vec<Answer>, charts: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/api/v3", listener.local_addr().expect("bound"));
        let script = Arc::new(Mutex::new(Script {
            markets: markets.into(),
            charts: charts.into(),
            requests: Vec::new(),
        }));
        let task = tokio::spawn({
            let script = script.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, script.clone()));
                }
            }
        });
        Self { url, script, task }
    }

    /// The base URL, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.script.lock().expect("no panic").requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut stream = BufReader::new(stream);
    // One request per connection keeps the script in order.
    let Some(request) = read(&mut stream).await else { return };
    let answer = {
        let mut script = script.lock().expect("no panic");
        let answers =
            if request.path.contains("/market_chart") { &mut script.charts } else { &mut script.markets };
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        script.requests.push(request);
        answer.unwrap_or_else(|| Answer::status(404, r#"{"error":"not in the script"}"#))
    };
    let (head, body) = match answer {
        Answer::Full { status, headers, body } => {
            let lines = headers
                .iter()
                .fold(String::new(), |lines, (name, value)| lines + name + ": " + value + "\r\n");
            (
                format!(
                    "HTTP/1.1 {status} X\r\n{lines}Content-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                ),
                body,
            )
        }
        Answer::CutOff(body) => {
            (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() + 100), body)
        }
        Answer::HangUp => return,
        Answer::Silence(time) => return tokio::time::sleep(time).await,
    };
    // Errors are ignored: a test may close its end.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = stream.lines();
    let path = lines.next_line().await.ok()??.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    while let Some(line) = lines.next_line().await.ok()?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Request { path, headers })
}
