//! Reads the maps of handlers into [`Handler`]s.

use serde_json::Value;

use super::{Field, Reader, find};
use crate::coerce::Shown;
use crate::finding::{DocumentPath, Place};
use crate::{Handler, Quoted, Severity, Template, message};

/// The default host.
const LOOPBACK: &str = "127.0.0.1";

/// Programs that replace variables in their commands themselves.
const SHELLS: [&str; 7] = ["sh", "ash", "bash", "dash", "fish", "ksh", "zsh"];

/// Headers that belong to the connection, so the probe runner sets them.
const CONNECTION_HEADERS: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

impl Reader<'_> {
    pub(super) fn http_get(
        &mut self,
        fields: &[Field<'_>],
        place: &DocumentPath,
    ) -> Option<Handler> {
        let headers = find(fields, "headers").map_or_else(Vec::new, |field| self.headers(field));
        let (written, place) = match find(fields, "url") {
            Some(url) => {
                for name in ["scheme", "host", "port", "path"] {
                    if let Some(part) = find(fields, name) {
                        let message = message!("`{}` is part of `url`", name);
                        self.findings.error(&part.place, Place::Key, message);
                        self.findings
                            .label(url.place.clone(), Place::Key, "defined here");
                    }
                }
                (self.text(url)?, &url.place)
            }
            None => (self.url_of_parts(fields, place)?, place),
        };
        let handler = Handler::HttpGet {
            url: Template::parse(&written).ok()?,
            headers,
        };
        let wrong = handler.certain_error();
        if let Some(wrong) = &wrong {
            let is_https = written
                .get(..5)
                .is_some_and(|start| start.eq_ignore_ascii_case("https"));
            let help = is_https
                .then(|| "run a command that does, with `:exec`, or use `:tcp_socket`".into());
            self.findings.push(
                Severity::Error,
                place,
                Place::Value,
                message!("{}", Quoted(wrong)),
                help,
            );
        }
        wrong.is_none().then_some(handler)
    }

    /// The URL of a handler from its parts, as in Kubernetes.
    fn url_of_parts(&mut self, fields: &[Field<'_>], place: &DocumentPath) -> Option<String> {
        let mut or_default = |name, default: &str| match find(fields, name) {
            Some(field) => self.text(field),
            None => Some(default.to_owned()),
        };
        let scheme = or_default("scheme", "http");
        let path = or_default("path", "/");
        let (host, port) = self.host_and_port(fields, place)?;
        let (scheme, path) = (scheme?.to_lowercase(), path?);
        let host = match host.to_string() {
            host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            host => host,
        };
        let slash = match path.starts_with(['/', '?']) || path.starts_with("${") {
            true => "",
            false => "/",
        };
        Some(format!("{scheme}://{host}:{port}{slash}{path}"))
    }

    pub(super) fn tcp_socket(
        &mut self,
        fields: &[Field<'_>],
        place: &DocumentPath,
    ) -> Option<Handler> {
        let (host, port) = self.host_and_port(fields, place)?;
        Some(Handler::TcpSocket { host, port })
    }

    fn host_and_port(
        &mut self,
        fields: &[Field<'_>],
        place: &DocumentPath,
    ) -> Option<(Template, Template)> {
        let field = find(fields, "host");
        let host = match field {
            Some(field) => self.text(field),
            None => Some(LOOPBACK.to_owned()),
        };
        let port = self.port(fields, place);
        let (host, port) = (Template::parse(&host?).ok()?, Template::parse(&port?).ok()?);
        let socket = Handler::TcpSocket {
            host: host.clone(),
            port: port.clone(),
        };
        if let Some(wrong) = socket.certain_error() {
            let place = field.map_or(place, |field| &field.place);
            self.error(place, message!("{}", Quoted(wrong)));
            return None;
        }
        Some((host, port))
    }

    /// The port of a handler: a number, or text that may refer to variables.
    fn port(&mut self, fields: &[Field<'_>], place: &DocumentPath) -> Option<String> {
        let Some(field) = find(fields, "port") else {
            self.error(place, "has no `port`");
            return None;
        };
        let text = match field.value {
            Value::String(_) => self.text(field)?,
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let is_port = text.parse::<u16>().is_ok_and(|port| port != 0);
        if !is_port && !text.contains("${") {
            let message = message!(
                "expected a port from 1 to 65535 or `${{NAME}}`, got {}",
                Shown(field.value)
            );
            self.error(&field.place, message);
            return None;
        }
        Some(text)
    }

    /// A map of headers, or a vector of `{:name :value}` as in Kubernetes.
    fn headers(&mut self, field: &Field<'_>) -> Vec<(String, Template)> {
        let entries: Vec<(DocumentPath, &str, &Value)> = match field.value {
            Value::Object(map) => {
                let entries = map.iter();
                entries
                    .map(|(name, value)| (field.place.key(name), name.as_str(), value))
                    .collect()
            }
            Value::Array(items) => {
                let entries = items.iter().enumerate();
                entries
                    .map(|(n, item)| {
                        let part = |key| item.get(key).unwrap_or(&Value::Null);
                        (
                            field.place.index(n),
                            part("name").as_str().unwrap_or_default(),
                            part("value"),
                        )
                    })
                    .collect()
            }
            other => {
                self.error(
                    &field.place,
                    message!("expected a map of headers, got {}", Shown(other)),
                );
                return Vec::new();
            }
        };
        let mut headers = Vec::with_capacity(entries.len());
        for (place, name, value) in entries {
            if !is_header_name(name) {
                self.findings.error(
                    &place,
                    Place::Key,
                    message!("`{}` is not the name of a header", Quoted(name)),
                );
            } else if CONNECTION_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                self.findings.error(
                    &place,
                    Place::Key,
                    message!("a probe sets the header `{}` itself", Quoted(name)),
                );
            } else if let Some(text) = word(value) {
                headers.extend(
                    self.template(&text, &place)
                        .map(|value| (name.to_owned(), value)),
                );
            } else {
                self.error(&place, message!("expected a string, got {}", Shown(value)));
            }
        }
        headers
    }

    pub(super) fn exec(&mut self, fields: &[Field<'_>], place: &DocumentPath) -> Option<Handler> {
        let Some(field) = find(fields, "command") else {
            self.error(place, "has no `command`");
            return None;
        };
        let expected = "a vector of strings, or one string for `sh -c`";
        let words = match field.value {
            Value::String(text) if !text.trim().is_empty() => {
                Some(vec!["sh".to_owned(), "-c".to_owned(), text.clone()])
            }
            Value::Array(items) => items.iter().map(word).collect(),
            _ => None,
        };
        let words = words.filter(|words| words.first().is_some_and(|program| !program.is_empty()));
        let Some(words) = words else {
            let message = message!("expected {}, got {}", expected, Shown(field.value));
            self.error(&field.place, message);
            return None;
        };
        let program = words[0].rsplit('/').next().unwrap_or_default();
        let command = match SHELLS.contains(&program) {
            true => words.into_iter().map(Template::literal).collect(),
            false => {
                let templates = words.iter().map(|text| self.template(text, &field.place));
                templates.collect::<Option<_>>()?
            }
        };
        Some(Handler::Exec { command })
    }

    /// Text that may refer to variables, as written.
    fn text(&mut self, field: &Field<'_>) -> Option<String> {
        match field.value.as_str().filter(|text| !text.is_empty()) {
            Some(text) => self.template(text, &field.place).map(|_| text.to_owned()),
            None => {
                self.error(
                    &field.place,
                    message!("expected a string, got {}", Shown(field.value)),
                );
                None
            }
        }
    }

    fn template(&mut self, text: &str, place: &DocumentPath) -> Option<Template> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(invalid) => {
                self.error(place, message!("{}", Quoted(invalid)));
                return None;
            }
        };
        for name in template.names().filter(|name| !(self.has_variable)(name)) {
            let message = message!("the app does not set the variable `{}`", Quoted(name));
            let help = Some("set it in `:env`, or pass it on with `:pass-env`".into());
            self.findings.warning(place, Place::Value, message, help);
        }
        Some(template)
    }
}

/// A scalar as PM2 would convert it to text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Source: RFC 9110, section 5.6.2 (`token`).
fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}
