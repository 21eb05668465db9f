//! Requests and responses of HTTP/1.1 (RFC 9112), as far as a server of one page has to know them. `httparse` reads the
//! syntax; what is decided here is how large a request may be, where its body ends, and which status it gets.

use std::time::SystemTime;

/// What the bytes received so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Not a whole request yet.
    Partial,
    /// The head of a request, and its length. Its body follows.
    Request(Request, usize),
    /// Never a request that can be answered otherwise than with this status; then the connection has to be closed, as the
    /// end of the request is not known.
    Bad(Status),
}

/// A request, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) status: Status,
    /// What it asks for, if the status is [`Status::Ok`].
    pub(crate) target: RequestTarget,
    /// Whether the client wants no content (`HEAD`).
    pub(crate) head: bool,
    pub(crate) keep_alive: bool,
    /// Bytes of the body that follow the head.
    pub(crate) body: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestTarget {
    /// `/`.
    Page,
    Health,
    Metrics,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    LengthRequired,
    ContentTooLarge,
    UriTooLong,
    HeadersTooLarge,
    NotImplemented,
    Unavailable,
    VersionNotSupported,
}

/// Longest request line, in bytes (RFC 9112, 3, asks for 8,000).
pub(crate) const LONGEST_LINE: usize = 8 * 1024;

/// Longest head of a request: the line and all header fields, in bytes. Browsers send less than 2 KiB.
pub(crate) const LONGEST_HEAD: usize = 16 * 1024;

const MOST_FIELDS: usize = 100;

/// Longest body that is read, and not looked at, so that the connection can be kept. In bytes.
pub(crate) const LONGEST_BODY: u64 = 64 * 1024;

/// Methods that exist and are not allowed here; any other is not implemented (RFC 9110, 9.1).
const METHODS: [&str; 7] = ["POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Reads the head of a request from the start of `bytes`. Lines may end in a bare line feed (RFC 9112, 2.2).
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => {
            return too_large(bytes).map_or(Parsed::Partial, Parsed::Bad);
        }
        Err(error) => {
            let status = match error {
                httparse::Error::TooManyHeaders => Status::HeadersTooLarge,
                httparse::Error::Version if asks_for_another_version(bytes) => {
                    Status::VersionNotSupported
                }
                _ => too_large(bytes).unwrap_or(Status::BadRequest),
            };
            return Parsed::Bad(status);
        }
    };
    if let Some(status) = bytes.get(..length).and_then(too_large) {
        return Parsed::Bad(status);
    }
    let (Some(method), Some(path), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Parsed::Bad(Status::BadRequest);
    };
    let fields = match Fields::read(request.headers, minor) {
        Ok(fields) => fields,
        Err(status) => return Parsed::Bad(status),
    };
    let target = target(path);
    let status = match (method, target) {
        ("GET" | "HEAD", RequestTarget::Other) => Status::NotFound,
        ("GET" | "HEAD", _) => Status::Ok,
        (method, _) if METHODS.contains(&method) => Status::MethodNotAllowed,
        _ => Status::NotImplemented,
    };
    let Fields { keep_alive, body, .. } = fields;
    Parsed::Request(Request { status, target, head: method == "HEAD", keep_alive, body }, length)
}

/// What the header fields say of the connection and the body.
struct Fields {
    keep_alive: bool,
    body: u64,
    expects: bool,
}

impl Fields {
    /// Reads the fields of a request of version 1.`minor`.
    fn read(fields: &[httparse::Header<'_>], minor: u8) -> Result<Self, Status> {
        let mut read = Self { keep_alive: minor == 1, body: 0, expects: false };
        let (mut hosts, mut length, mut coding) = (0, None, None);
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let value = field.value.trim_ascii();
            if is("host") {
                hosts += 1;
            } else if is("connection") {
                let says = |word: &str| {
                    let mut words = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                    words.any(|one| one.eq_ignore_ascii_case(word.as_bytes()))
                };
                read.keep_alive = !says("close") && (read.keep_alive || says("keep-alive"));
            } else if is("content-length") {
                let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                let text = digits.then(|| String::from_utf8_lossy(value));
                let text = text.ok_or(Status::BadRequest)?;
                // More than a number can hold is more than is taken.
                let bytes = text.parse().unwrap_or(u64::MAX);
                if length.replace(bytes).is_some_and(|other| other != bytes) {
                    return Err(Status::BadRequest);
                }
            } else if is("transfer-encoding") {
                coding = Some(value);
            } else if is("expect") {
                read.expects = true;
            }
        }
        if hosts > 1 {
            return Err(Status::BadRequest);
        }
        match (coding, length) {
            (None, _) => {}
            // Where the body ends is in dispute: requests are smuggled so (RFC 9112, 6.1).
            (Some(_), Some(_)) => return Err(Status::BadRequest),
            (Some(_), None) if minor == 0 => return Err(Status::BadRequest),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
                return Err(Status::LengthRequired);
            }
            (Some(_), None) => return Err(Status::NotImplemented),
        }
        read.body = length.unwrap_or(0);
        if read.body > LONGEST_BODY {
            return Err(Status::ContentTooLarge);
        }
        // A client that waits for leave to send a body may send it or not after another answer.
        if read.expects && read.body > 0 {
            read.keep_alive = false;
        }
        Ok(read)
    }
}

/// Why a head, whole or not, is larger than any that is taken.
fn too_large(head: &[u8]) -> Option<Status> {
    // Empty lines before a request are passed over (RFC 9112, 2.2).
    let start = head.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(head.len());
    let line = head.get(start..)?;
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.len() > LONGEST_LINE {
        Some(Status::UriTooLong)
    } else if head.len() > LONGEST_HEAD {
        Some(Status::HeadersTooLarge)
    } else {
        None
    }
}

/// Whether the request line ends in a version of HTTP that is not 1.0 or 1.1.
fn asks_for_another_version(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start().split(|&byte| byte == b'\n').next().unwrap_or_default();
    let version = line.trim_ascii_end().rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let number = version.strip_prefix(b"HTTP/").unwrap_or_default();
    matches!(number, [major, rest @ ..] if major.is_ascii_digit() && !number.starts_with(b"1.")
        && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
}

/// What a path, or a whole URI, names (RFC 9112, 3.2).
fn target(path: &str) -> RequestTarget {
    let path = match path.split_once("://") {
        Some(("http" | "https", rest)) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        _ => path,
    };
    match path.split('?').next().unwrap_or_default() {
        // The second of a URI without a path but with a query.
        "/" | "" => RequestTarget::Page,
        "/health" => RequestTarget::Health,
        "/metrics" => RequestTarget::Metrics,
        _ => RequestTarget::Other,
    }
}

impl Request {
    /// What stands for a request that could not be read: answered with `status`, then closed.
    pub(crate) const fn refused(status: Status) -> Self {
        Self { status, target: RequestTarget::Other, head: false, keep_alive: false, body: 0 }
    }
}

impl Status {
    /// Its line, and the content that goes with it but for [`Status::Ok`].
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("200 OK", ""),
            Self::BadRequest => ("400 Bad Request", "this is not an HTTP/1.1 request\n"),
            Self::NotFound => ("404 Not Found", "there are two pages here: / and /health\n"),
            Self::MethodNotAllowed => ("405 Method Not Allowed", "GET and HEAD only\n"),
            Self::RequestTimeout => ("408 Request Timeout", "the request did not end in time\n"),
            Self::LengthRequired => ("411 Length Required", "send a Content-Length\n"),
            Self::ContentTooLarge => ("413 Content Too Large", "at most 64 KiB\n"),
            Self::UriTooLong => ("414 URI Too Long", "at most 8 KiB in the request line\n"),
            Self::HeadersTooLarge => {
                ("431 Request Header Fields Too Large", "at most 16 KiB in at most 100 fields\n")
            }
            Self::NotImplemented => ("501 Not Implemented", "GET and HEAD only\n"),
            Self::Unavailable => ("503 Service Unavailable", "draining\n"),
            Self::VersionNotSupported => {
                ("505 HTTP Version Not Supported", "HTTP/1.1 and HTTP/1.0 only\n")
            }
        }
    }
}

/// The content of a response with [`Status::Ok`].
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

impl Content {
    pub(crate) const fn plain(text: String) -> Self {
        Self { kind: PLAIN, text }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// A response at the time `now`; `content` is its content when the status is [`Status::Ok`].
pub(crate) fn respond(request: &Request, content: &Content, now: SystemTime) -> Vec<u8> {
    let (line, words) = request.status.words();
    let (kind, body) = match request.status {
        Status::Ok => (content.kind, content.text.as_str()),
        _ => (PLAIN, words),
    };
    let connection = if request.keep_alive { "keep-alive" } else { "close" };
    let allow =
        if request.status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {line}\r\nDate: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{allow}Connection: {connection}\r\n\r\n",
        httpdate::fmt_http_date(now),
        body.len()
    )
    .into_bytes();
    if !request.head {
        response.extend_from_slice(body.as_bytes());
    }
    response
}

#[cfg(test)]
mod tests;
