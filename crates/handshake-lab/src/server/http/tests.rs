//! Requests of every kind and size, whole and in pieces.

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Request {
    match parse(text.as_bytes()) {
        Parsed::Request(request, taken) => {
            assert_eq!(taken, text.len());
            request
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn versions_and_headers_decide_whether_the_connection_stays() {
    assert!(one("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").keep_alive);
    assert!(!one("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keep_alive);
    assert!(!one("GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(one("GET / HTTP/1.0\r\nconnection: foo, keep-alive\r\n\r\n").keep_alive);
    let expects = "POST / HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    assert!(!one(expects).keep_alive);
}

#[test]
fn lines_may_end_in_a_bare_line_feed() {
    for text in ["GET / HTTP/1.1\n\n", "GET / HTTP/1.1\nHost: x\r\n\n", "\r\n\nGET / HTTP/1.1\n\n"]
    {
        assert_eq!(one(text).status, Status::Ok, "{text:?}");
    }
}

#[test]
fn each_request_gets_the_status_it_deserves() {
    let request = |line: &str| one(&format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(request("GET /?q").target, RequestTarget::Page);
    assert_eq!(request("GET https://localhost").target, RequestTarget::Page);
    assert_eq!(request("GET https://localhost:1/health?x").target, RequestTarget::Health);
    assert_eq!(request("GET /x").status, Status::NotFound);
    assert_eq!(request("HEAD /x").status, Status::NotFound);
    assert!(request("HEAD /").head);
    for method in METHODS {
        assert_eq!(request(&format!("{method} /")).status, Status::MethodNotAllowed, "{method}");
    }
    for method in ["BREW", "get", "PROPFIND"] {
        assert_eq!(request(&format!("{method} /")).status, Status::NotImplemented, "{method}");
    }
}

#[test]
fn a_body_within_the_limit_is_passed_over_and_a_longer_one_refused() {
    let with = |fields: &str| parse(format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes());
    let length = |bytes: u64| with(&format!("Content-Length: {bytes}"));
    for bytes in [0, 3, LONGEST_BODY] {
        let Parsed::Request(request, _) = length(bytes) else { panic!("{bytes} bytes") };
        assert_eq!((request.status, request.body), (Status::MethodNotAllowed, bytes));
        assert!(request.keep_alive);
    }
    for (fields, status) in [
        ("Content-Length: 65537", Status::ContentTooLarge),
        ("Content-Length: 99999999999999999999999999", Status::ContentTooLarge),
        ("Content-Length: -1", Status::BadRequest),
        ("Content-Length: +1", Status::BadRequest),
        ("Content-Length:", Status::BadRequest),
        ("Content-Length: 3\r\nContent-Length: 4", Status::BadRequest),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", Status::BadRequest),
        ("Transfer-Encoding: Chunked", Status::LengthRequired),
        ("Transfer-Encoding: gzip, chunked", Status::NotImplemented),
        ("Host: a\r\nHost: b", Status::BadRequest),
    ] {
        assert_eq!(with(fields), Parsed::Bad(status), "{fields}");
    }
}

#[test]
fn what_is_no_request_of_a_known_version_is_refused() {
    for (bad, status) in [
        ("GET /\r\n\r\n", Status::BadRequest),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", Status::BadRequest),
        ("GET / HTTP/1.1\r\nname : value\r\n\r\n", Status::BadRequest),
        ("GET / HTTP/1.1\r\na: b\r\n folded\r\n\r\n", Status::BadRequest),
        ("GET / FOO/1.1\r\n\r\n", Status::BadRequest),
        ("GET / HTTP/2.0\r\n\r\n", Status::VersionNotSupported),
        ("GET / HTTP/3\r\n\r\n", Status::VersionNotSupported),
        ("\x16\x03\x01\x02\x00\x01\x00", Status::BadRequest),
    ] {
        assert_eq!(parse(bad.as_bytes()), Parsed::Bad(status), "{bad:?}");
    }
}

#[test]
fn long_lines_and_large_heads_are_told_apart() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length));
    assert_eq!(parse(line(LONGEST_LINE).as_bytes()), Parsed::Bad(Status::UriTooLong));
    let whole = line(LONGEST_LINE) + "\r\n";
    assert_eq!(parse(whole.as_bytes()), Parsed::Bad(Status::UriTooLong));
    assert_eq!(parse(&vec![b'a'; LONGEST_LINE + 1]), Parsed::Bad(Status::UriTooLong));
    assert_eq!(
        parse((line(4000) + "\r\n").as_bytes()),
        Parsed::Request(
            Request {
                status: Status::NotFound,
                keep_alive: true,
                ..Request::refused(Status::NotFound)
            },
            line(4000).len() + 2,
        )
    );
    let field = format!("a: {}\r\n", "b".repeat(LONGEST_HEAD));
    for end in ["", "\r\n"] {
        let head = format!("GET / HTTP/1.1\r\n{field}{end}");
        assert_eq!(parse(head.as_bytes()), Parsed::Bad(Status::HeadersTooLarge));
    }
    let many = "GET / HTTP/1.1\r\n".to_owned() + &"a: b\r\n".repeat(MOST_FIELDS + 1) + "\r\n";
    assert_eq!(parse(many.as_bytes()), Parsed::Bad(Status::HeadersTooLarge));
}

#[test]
fn a_response_tells_its_length_and_its_date() {
    let mut request = one("GET / HTTP/1.1\r\n\r\n");
    let content = Content::plain("hello\n".to_owned());
    let text = |request: &Request| {
        String::from_utf8(respond(request, &content, SystemTime::UNIX_EPOCH)).expect("text")
    };
    let whole = text(&request);
    assert!(whole.contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{whole}");
    assert!(whole.contains("\r\nContent-Length: 6\r\n"), "{whole}");
    assert!(whole.ends_with("\r\n\r\nhello\n"), "{whole}");
    // The same head without the content.
    request.head = true;
    assert_eq!(text(&request) + "hello\n", whole);
}

proptest! {
    #[test]
    fn no_bytes_whatever_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_request_is_partial_until_its_last_byte(cut in 0..40_usize, bare in any::<bool>()) {
        let mut text = "GET / HTTP/1.1\r\nHost: localhost:8443\r\n\r\n".to_owned();
        if bare {
            text = text.replace('\r', "");
        }
        prop_assert_eq!(parse(&text.as_bytes()[..cut.min(text.len() - 1)]), Parsed::Partial);
    }

    #[test]
    fn a_head_is_never_taken_beyond_its_limit(length in 0..40_000_usize) {
        let head = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(length));
        let partial = parse(head.as_bytes()) == Parsed::Partial;
        prop_assert_eq!(partial, head.len() <= LONGEST_HEAD);
    }
}
