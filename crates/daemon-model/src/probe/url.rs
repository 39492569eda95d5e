//! Parses URLs of probes. The only file that uses the crate `http`.

use http::Uri;

/// The parts of a URL that a request needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) target: String,
}

const SCHEME: &str = "http://";

/// Why a URL with credentials is refused.
pub(super) const CREDENTIALS: &str = "probes do not send user names or passwords";

/// Parses a plain HTTP URL, or says why it cannot be probed.
pub(super) fn parse(text: &str) -> Result<Parts, &'static str> {
    let starts_with = |start: &str| {
        let found = text.get(..start.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(start))
    };
    if starts_with("https://") {
        return Err("probes do not speak HTTPS");
    }
    if !starts_with(SCHEME) {
        return Err("it does not begin with `http://`");
    }
    let uri: Uri = text.parse().map_err(|_| "it is not a valid URL")?;
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err(CREDENTIALS);
    }
    let after_host = authority.as_str().strip_prefix(authority.host());
    let port = match after_host {
        None | Some("" | ":") => 80,
        Some(_) => authority
            .port_u16()
            .filter(|port| *port != 0)
            .ok_or("its port is not from 1 to 65535")?,
    };
    Ok(Parts {
        host: host(authority.host()).ok_or("it has no host")?.to_owned(),
        port,
        target: match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        },
    })
}

/// A host without the brackets of an IPv6 address.
pub(super) fn host(text: &str) -> Option<&str> {
    let inside = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = inside.unwrap_or(text);
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
    (!host.is_empty() && !host.contains(is_odd)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, target) in [
            ("http://localhost", "localhost", 80, "/"),
            ("http://localhost:/", "localhost", 80, "/"),
            (
                "HTTP://127.0.0.1:3000/a/b?c=d&e",
                "127.0.0.1",
                3000,
                "/a/b?c=d&e",
            ),
            ("http://[::1]:8080?x", "::1", 8080, "/?x"),
            (
                "http://api.internal:65535/ready#part",
                "api.internal",
                65535,
                "/ready",
            ),
        ] {
            let expected = Parts {
                host: host.to_owned(),
                port,
                target: target.to_owned(),
            };
            assert_eq!(parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn an_invalid_url_is_refused() {
        for url in [
            "",
            "localhost:3000",
            "ftp://localhost",
            "https://localhost",
            "http://",
            "http:///path",
            "http://:80/",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://a/b c",
            "http://user:secret@localhost/",
            "http://localhost:0/",
            "http://localhost:99999/",
            "http://localhost:http/",
            "http://[::1/",
            "http://ä/",
        ] {
            assert!(parse(url).is_err(), "{url}: {:?}", parse(url));
        }
    }
}
