//! How a verb talks to a running world: its control API, found through the state directory.

use std::{fmt, io::Write as _, time::Duration};

use control_plane::wire::ErrorDocument;
use reqwest::{Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    diagnose::Complaint,
    state::{WorldDir, WorldRecord},
};

/// Why a verb could not do its work. Each kind has its exit code.
#[derive(Debug)]
pub(crate) enum VerbError {
    /// Wrong usage or configuration: 2.
    Usage(String),
    /// A value of a cluster file, or of the command line that is laid over it, is wrong: 2.
    Config(Box<Complaint>),
    /// No such world is running: 3.
    NotRunning(String),
    /// It was tried and failed: 1.
    Failed(anyhow::Error),
    /// Stopped by Ctrl-C: 130.
    Interrupted,
    /// Another program's exit code, passed on.
    Exit(u8),
}

impl VerbError {
    /// The exit code of the contract.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) | Self::Config(_) => 2,
            Self::NotRunning(_) => 3,
            Self::Interrupted => 130,
            Self::Exit(code) => *code,
        }
    }
}

impl fmt::Display for VerbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::NotRunning(text) => f.write_str(text),
            Self::Config(complaint) => complaint.fmt(f),
            Self::Failed(error) => write!(f, "{error:#}"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Exit(code) => write!(f, "exit code {code}"),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for VerbError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What `--json` prints where a verb failed.
pub(crate) fn error_document(text: &str) -> String {
    serde_json::json!({ "error": text }).to_string()
}

/// ` --world NAME`, for lines that people can type again; nothing for the world that verbs take by default.
pub(crate) fn world_flag(world: &str) -> String {
    match world {
        "default" => String::new(),
        name => format!(" --world {name}"),
    }
}

/// A line of talk, on stderr. That nobody listens any more is no failure.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A connection to the control API of one world.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: reqwest::Client,
    /// How to reach it.
    pub(crate) record: WorldRecord,
}

impl Api {
    /// Finds the world `name`.
    ///
    /// # Errors
    /// [`VerbError::NotRunning`] with the worlds that do run.
    pub(crate) fn of_world(name: &str) -> Result<Self, VerbError> {
        let dir = WorldDir::new(name).map_err(|error| VerbError::Usage(format!("{error:#}")))?;
        let Some(record) = dir.record()? else {
            let running = WorldDir::running();
            let hint = match running.as_slice() {
                [] => "start one with `iso up`".to_owned(),
                names => format!("running: {}; choose one with --world", names.join(", ")),
            };
            return Err(VerbError::NotRunning(format!("no world {name:?} is running; {hint}")));
        };
        Ok(Self::of_record(record)?)
    }

    /// Talks to the world of `record`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub(crate) fn of_record(record: WorldRecord) -> anyhow::Result<Self> {
        // Proxies of the environment are for the network; the control API is on loopback.
        let client = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5)).build()?;
        Ok(Self { client, record })
    }

    /// The address of the dashboard.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.record.control)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// No answer, or the API's own error in words.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + ?Sized),
    ) -> Result<T, VerbError> {
        let response = self.send(self.request(Method::GET, path).query(query)).await?;
        Ok(response.json().await?)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// No answer, or the API's own error in words.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, VerbError> {
        Ok(self.send(self.request(Method::POST, path).json(body)).await?.json().await?)
    }

    /// Posts a document to a node's admin port; the response is to be read as it comes.
    ///
    /// # Errors
    /// No answer, or the node's refusal in words.
    pub(crate) async fn post_to(&self, url: &str, body: &(impl Serialize + ?Sized)) -> Result<Response, VerbError> {
        let request = self.client.post(url).bearer_auth(&self.record.token).json(body);
        let response = request.send().await.map_err(|error| anyhow::Error::new(error).context("no answer"))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        match status.as_u16() {
            400 | 422 => Err(VerbError::Usage(text.trim().to_owned())),
            _ => Err(VerbError::Failed(anyhow::anyhow!("{status}: {}", text.trim()))),
        }
    }

    /// Asks for something to be taken away.
    ///
    /// # Errors
    /// No answer, or the API's own error in words.
    pub(crate) async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + ?Sized),
    ) -> Result<T, VerbError> {
        Ok(self.send(self.request(Method::DELETE, path).query(query)).await?.json().await?)
    }

    /// A response to be read as it comes.
    ///
    /// # Errors
    /// No answer, or the API's own error in words.
    pub(crate) async fn stream(&self, path: &str, query: &(impl Serialize + ?Sized)) -> Result<Response, VerbError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(&self.record.token)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, VerbError> {
        let response = request.send().await.map_err(|error| {
            let world = &self.record.world;
            if error.is_connect() {
                VerbError::NotRunning(format!("the world {world:?} does not answer at {}", self.record.control))
            } else {
                VerbError::Failed(anyhow::Error::new(error).context(format!("the world {world:?} did not answer")))
            }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let Ok(ErrorDocument { error }) = serde_json::from_str(&text) else {
            return Err(VerbError::Failed(anyhow::anyhow!("the control API answered {status}: {}", text.trim())));
        };
        let mut message = error.message;
        if let [first, rest @ ..] = error.did_you_mean.as_slice() {
            message.push_str(&format!("; did you mean {first}?"));
            if !rest.is_empty() {
                message.push_str(&format!(" (or {})", rest.join(", ")));
            }
        }
        if let Some(hint) = error.hint {
            message.push_str(&format!("\nhint: {hint}"));
        }
        // What the API calls a bad request is a wrong word on the command line.
        match status.as_u16() {
            400 | 404 | 422 => Err(VerbError::Usage(message)),
            _ => Err(VerbError::Failed(anyhow::anyhow!(message))),
        }
    }
}
