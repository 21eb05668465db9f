//! The smallest HTTP/1.1 that browsers and command-line clients are content with: requests without bodies, one page.

/// What the bytes received so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Not a whole request yet.
    Partial,
    /// A request, and how many bytes it took.
    Request(Request, usize),
    /// Not a request that this server will ever answer otherwise than with this status; the connection is to be closed.
    Bad(Status),
}

/// A request, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) status: Status,
    /// Whether the client wants no body (`HEAD`).
    pub(super) head: bool,
    /// Whether the connection stays open afterwards.
    pub(super) keep_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    HeadersTooLarge,
    BodyRefused,
}

/// Longest request head accepted, in bytes. Browsers send less than 2 KiB.
pub(super) const LONGEST_HEAD: usize = 8 * 1024;

/// Reads one request from the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > LONGEST_HEAD {
            Parsed::Bad(Status::HeadersTooLarge)
        } else {
            Parsed::Partial
        };
    };
    if end > LONGEST_HEAD {
        return Parsed::Bad(Status::HeadersTooLarge);
    }
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else {
        return Parsed::Bad(Status::BadRequest);
    };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Parsed::Bad(Status::BadRequest);
    };
    let mut keep_alive = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Parsed::Bad(Status::BadRequest),
    };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Parsed::Bad(Status::BadRequest);
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("connection") {
            let says =
                |word: &str| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
            keep_alive = !says("close") && (keep_alive || says("keep-alive"));
        } else if name.eq_ignore_ascii_case("transfer-encoding")
            || (name.eq_ignore_ascii_case("content-length") && value != "0")
        {
            // Without reading the body, what follows would be taken for a request.
            return Parsed::Bad(Status::BodyRefused);
        }
    }
    let path = path.split('?').next().unwrap_or_default();
    let status = match (method, path) {
        ("GET" | "HEAD", "/") => Status::Ok,
        ("GET" | "HEAD", _) => Status::NotFound,
        _ => Status::MethodNotAllowed,
    };
    Parsed::Request(Request { status, head: method == "HEAD", keep_alive }, end + 4)
}

/// A response; `page` is its body when the status is [`Status::Ok`].
pub(super) fn respond(request: &Request, page: &str) -> Vec<u8> {
    let (line, body) = match request.status {
        Status::Ok => ("200 OK", page),
        Status::BadRequest => ("400 Bad Request", "this is not an HTTP/1.1 request\n"),
        Status::NotFound => ("404 Not Found", "there is one page here: /\n"),
        Status::MethodNotAllowed => ("405 Method Not Allowed", "GET and HEAD only\n"),
        Status::HeadersTooLarge => ("431 Request Header Fields Too Large", "at most 8 KiB\n"),
        Status::BodyRefused => ("413 Content Too Large", "requests with a body are not taken\n"),
    };
    let connection = if request.keep_alive { "keep-alive" } else { "close" };
    let allow =
        if request.status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {line}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{allow}Connection: {connection}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !request.head {
        response.extend_from_slice(body.as_bytes());
    }
    response
}

impl Request {
    /// What stands for a request that could not be read: answered with `status`, then closed.
    pub(super) const fn refused(status: Status) -> Self {
        Self { status, head: false, keep_alive: false }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Request(request, taken) => {
                assert_eq!(taken, text.len());
                request
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn versions_and_headers_decide_whether_the_connection_stays() {
        assert!(one("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").keep_alive);
        assert!(!one("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keep_alive);
        assert!(!one("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(one("GET / HTTP/1.0\r\nconnection: foo, keep-alive\r\n\r\n").keep_alive);
    }

    #[test]
    fn each_request_gets_the_status_it_deserves() {
        assert_eq!(one("GET /?q HTTP/1.1\r\n\r\n").status, Status::Ok);
        assert_eq!(one("GET /x HTTP/1.1\r\n\r\n").status, Status::NotFound);
        assert_eq!(one("POST / HTTP/1.1\r\n\r\n").status, Status::MethodNotAllowed);
        assert!(one("HEAD / HTTP/1.1\r\n\r\n").head);
        for bad in ["GET /\r\n\r\n", "GET / HTTP/2\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
            assert_eq!(parse(bad.as_bytes()), Parsed::Bad(Status::BadRequest), "{bad}");
        }
        let body = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(parse(body), Parsed::Bad(Status::BodyRefused));
        assert_eq!(parse(&vec![b'a'; LONGEST_HEAD + 1]), Parsed::Bad(Status::HeadersTooLarge));
    }

    #[test]
    fn a_response_tells_its_length() {
        let request = one("GET / HTTP/1.1\r\n\r\n");
        let text = String::from_utf8(respond(&request, "hello\n")).unwrap();
        assert!(
            text.contains("Content-Length: 6\r\n") && text.ends_with("\r\n\r\nhello\n"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_request_is_partial_until_its_last_byte(cut in 0..40_usize) {
            let text = b"GET / HTTP/1.1\r\nHost: localhost:8443\r\n\r\n";
            prop_assert_eq!(parse(&text[..cut.min(text.len() - 1)]), Parsed::Partial);
        }
    }
}
