//! A client that shows what is on the wire.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::DEADLINE;

/// A response, as far as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The values of a header, joined as HTTP joins them.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

/// A connection and what came on it beyond the last reply.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl Client<TcpStream> {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn on(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// GET on this connection.
    pub(crate) async fn get(&mut self, target: &str) -> Reply {
        self.ask("GET", target, "").await.unwrap()
    }

    /// A request without a body; `fields` are whole lines.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, fields: &str) -> io::Result<Reply> {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: origin.test\r\n{fields}\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.reply(method == "HEAD").await
    }

    /// The next response, whole.
    pub(crate) async fn reply(&mut self, head_only: bool) -> io::Result<Reply> {
        timeout(DEADLINE, self.read_reply(head_only)).await.expect("no whole answer before the deadline")
    }

    async fn read_reply(&mut self, head_only: bool) -> io::Result<Reply> {
        let end = self.fill_until(b"\r\n\r\n").await?;
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let mut reply = Reply { status, head, body: Vec::new() };
        if head_only || status == 204 || status == 304 || status < 200 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding").as_deref() == Some("chunked") {
            loop {
                let end = self.fill_until(b"\r\n").await?;
                let line: Vec<u8> = self.buffer.drain(..end).collect();
                let size = usize::from_str_radix(str::from_utf8(&line).unwrap().trim(), 16).unwrap();
                self.fill(size + 2).await?;
                reply.body.extend(self.buffer.drain(..size));
                self.buffer.drain(..2);
                if size == 0 {
                    return Ok(reply);
                }
            }
        }
        let length: usize = reply.header("content-length").expect("a length").parse().unwrap();
        self.fill(length).await?;
        reply.body = self.buffer.drain(..length).collect();
        Ok(reply)
    }

    /// Everything up to the end of the stream, or the error that ended it.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let read = timeout(DEADLINE, async {
            loop {
                match self.more().await {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        });
        let outcome = read.await.expect("the stream did not end before the deadline");
        (std::mem::take(&mut self.buffer), outcome)
    }

    /// Reads until at least `length` bytes are there, and shows all that are.
    pub(crate) async fn at_least(&mut self, length: usize) -> &[u8] {
        timeout(DEADLINE, self.fill(length)).await.expect("not enough before the deadline").unwrap();
        &self.buffer
    }

    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn fill_until(&mut self, mark: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Ok(at + mark.len());
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn more(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}
