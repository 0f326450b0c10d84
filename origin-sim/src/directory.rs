//! The directory face: static files of somebody's own folder.
//!
//! GET and HEAD only. A path is decoded once and must stay inside the root, symbolic links included; what lies outside
//! does not exist. The root is looked up at each request, so it may appear, vanish and be replaced while the origin runs.
//! Knows files and paths; preconditions and ranges are `answer`'s.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Method, StatusCode, header, request};
use percent_encoding::percent_decode_str;

use crate::{
    answer::{Answer, Manner, Representation},
    body::Source,
    parameters::{Parameters, TagChoice},
    precondition::EntityTag,
    simulated::{dress, with_charset},
};

const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// What a path names below the root.
#[derive(Debug)]
enum Found {
    File {
        file: File,
        length: u64,
        modified: Option<SystemTime>,
        path: PathBuf,
    },
    /// A directory without the slash at the end.
    Redirect,
    Missing,
    Forbidden,
    /// The root itself is not there.
    NoRoot,
    Failed(io::Error),
}

/// The answer to a request for a file below `root`.
pub(crate) async fn answer(root: &Path, request: &request::Parts, parameters: Parameters, ranges_max: usize) -> Answer {
    match request.method {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => {
            let mut answer = Answer::empty(StatusCode::NO_CONTENT);
            answer.headers.insert(header::ALLOW, ALLOW);
            return answer;
        }
        _ => {
            let mut answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "a directory knows GET and HEAD\n");
            answer.headers.insert(header::ALLOW, ALLOW);
            return answer;
        }
    }
    let Some(relative) = relative_path(request.uri.path()) else {
        return finish(request, Answer::text(StatusCode::NOT_FOUND, "not found\n"));
    };
    let slash = request.uri.path().ends_with('/');
    let root = root.to_owned();
    let found = tokio::task::spawn_blocking(move || find(&root, &relative, slash)).await;
    let answer = match found.unwrap_or_else(|gone| Found::Failed(io::Error::other(gone))) {
        Found::File { file, length, modified, path } => {
            let content_type = mime_guess::from_path(&path)
                .first_raw()
                .map_or(HeaderValue::from_static("application/octet-stream"), with_charset);
            let representation = Representation {
                content_type: parameters.content_type.clone().unwrap_or(content_type),
                etag: entity_tag(&parameters, length, modified),
                last_modified: parameters.last_modified.unwrap_or(modified),
                length,
                source: Source::File(Arc::new(file)),
            };
            let manner = Manner {
                status: StatusCode::OK,
                ranges: parameters.ranges.unwrap_or(true),
                ranges_max,
                chunked: parameters.chunked.unwrap_or(false),
                chunk_bytes: parameters.chunk_bytes,
                drip: parameters.drip.unwrap_or_default(),
            };
            let mut answer = Answer::of(request, representation, &manner);
            dress(&mut answer, &parameters, None);
            return answer;
        }
        Found::Redirect => {
            let mut answer = Answer::text(StatusCode::MOVED_PERMANENTLY, "a directory's name ends with a slash\n");
            answer.insert(header::LOCATION, with_slash(request));
            answer
        }
        Found::Missing => Answer::text(StatusCode::NOT_FOUND, "not found\n"),
        Found::Forbidden => Answer::text(StatusCode::FORBIDDEN, "this is not a file that may be read\n"),
        Found::NoRoot => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the directory of this origin is not there\n"),
        Found::Failed(error) => {
            tracing::warn!(path = request.uri.path(), %error, "file cannot be served");
            Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n")
        }
    };
    finish(request, answer)
}

fn finish(request: &request::Parts, mut answer: Answer) -> Answer {
    if request.method == Method::HEAD {
        answer.forget_body();
    }
    answer
}

/// The path of a request as a path below the root. `None` where a segment, once decoded, is more than a name: `..`, a
/// slash, a NUL, or bytes that are not UTF-8.
fn relative_path(path: &str) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let name = percent_decode_str(segment).decode_utf8().ok()?;
        match name.as_ref() {
            "." => {}
            ".." => return None,
            name if name.contains(['/', '\0']) => return None,
            name => relative.push(name),
        }
    }
    Some(relative)
}

/// Blocks on the file system.
fn find(root: &Path, relative: &Path, slash: bool) -> Found {
    let Ok(root) = root.canonicalize() else { return Found::NoRoot };
    let inside = |path: &Path| match path.canonicalize() {
        Ok(path) if path.starts_with(&root) => Ok(path),
        Ok(_outside) => Err(Found::Missing),
        Err(error) => Err(classified(error)),
    };
    let opened = inside(&root.join(relative)).and_then(|path| {
        if !path.is_dir() {
            // `file.txt/` names no file.
            return if slash && !relative.as_os_str().is_empty() { Err(Found::Missing) } else { Ok(path) };
        }
        if slash { inside(&path.join("index.html")) } else { Err(Found::Redirect) }
    });
    let path = match opened {
        Ok(path) => path,
        Err(found) => return found,
    };
    // Asked before opening, because opening a pipe would wait for its writer.
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Found::Forbidden,
        Err(error) => return classified(error),
    }
    match File::open(&path).and_then(|file| file.metadata().map(|metadata| (file, metadata))) {
        Ok((file, metadata)) => Found::File { file, length: metadata.len(), modified: metadata.modified().ok(), path },
        Err(error) => classified(error),
    }
}

fn classified(error: io::Error) -> Found {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::InvalidInput => Found::Missing,
        io::ErrorKind::PermissionDenied => Found::Forbidden,
        _ => Found::Failed(error),
    }
}

/// Length and time of change, to the nanosecond: what changes with every save.
fn entity_tag(parameters: &Parameters, length: u64, modified: Option<SystemTime>) -> Option<EntityTag> {
    let nanos =
        modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos());
    let opaque = format!("{nanos:x}-{length:x}");
    match parameters.etag.as_ref().unwrap_or(&TagChoice::Strong) {
        TagChoice::Strong => Some(EntityTag::strong(&opaque)),
        TagChoice::Weak => Some(EntityTag::weak(&opaque)),
        TagChoice::Literal(opaque) => Some(EntityTag::strong(opaque)),
        TagChoice::None => None,
    }
}

/// The target with a slash after its path. Slashes at the start become one: `//name` would be another host.
fn with_slash(request: &request::Parts) -> String {
    let path = request.uri.path().trim_start_matches('/');
    let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{path}/{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_root_become_paths() {
        for (path, expected) in [
            ("/", Some("")),
            ("/a/b.txt", Some("a/b.txt")),
            ("//a/./b%20c", Some("a/b c")),
            ("/%61", Some("a")),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2E/x", None),
            ("/a%2fb", None),
            ("/a%00", None),
            ("/%ff", None),
            ("/%252e%252e/x", Some("%2e%2e/x")),
        ] {
            assert_eq!(relative_path(path), expected.map(PathBuf::from), "{path}");
        }
    }
}
