//! Probes as declared by an app, and as run against one of its processes.
//!
//! A [`Probe`] is read from the definition and may refer to variables (`${PORT}`). [`Handler::check`] substitutes the variables of
//! one process and returns a [`Check`], which has everything that a runner needs. Nothing here runs a probe.

mod template;
mod url;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::Variables;

pub use template::{InvalidReference, Template};

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// Whether a process has started; its other probes wait for it.
    Startup,
    /// Whether a process is ready.
    Readiness,
    /// Whether a process must be restarted.
    Liveness,
}

impl ProbeKind {
    /// All kinds, in the order in which they apply to a process.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    /// The key of an app that declares it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Startup => "startup_probe",
            Self::Readiness => "readiness_probe",
            Self::Liveness => "liveness_probe",
        }
    }

    /// The default time between two runs: 1 s, for liveness 10 s.
    #[must_use]
    pub fn default_period(self) -> Duration {
        match self {
            Self::Startup | Self::Readiness => Duration::from_secs(1),
            Self::Liveness => Duration::from_secs(10),
        }
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "startup probe",
            Self::Readiness => "readiness probe",
            Self::Liveness => "liveness probe",
        })
    }
}

/// One probe of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// The check to run.
    pub handler: Handler,
    /// The time between the start of the process and the first run.
    pub initial_delay: Duration,
    /// The time between the starts of two consecutive runs.
    pub period: Duration,
    /// How long one run may take.
    pub timeout: Duration,
    /// The number of consecutive successes that count as success.
    pub success_threshold: NonZeroU32,
    /// The number of consecutive failures that count as failure.
    pub failure_threshold: NonZeroU32,
}

impl Probe {
    /// The default time limit of one run.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
    /// The default number of consecutive successes that count.
    pub const DEFAULT_SUCCESS_THRESHOLD: NonZeroU32 = NonZeroU32::MIN;
    /// The default number of consecutive failures that count.
    pub const DEFAULT_FAILURE_THRESHOLD: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

    /// A probe with the default times and thresholds of its kind.
    #[must_use]
    pub fn new(kind: ProbeKind, handler: Handler) -> Self {
        Self {
            handler,
            initial_delay: Duration::ZERO,
            period: kind.default_period(),
            timeout: Self::DEFAULT_TIMEOUT,
            success_threshold: Self::DEFAULT_SUCCESS_THRESHOLD,
            failure_threshold: Self::DEFAULT_FAILURE_THRESHOLD,
        }
    }

    /// The time from the start of the process to the earliest success, if each run succeeds at once.
    #[must_use]
    pub fn earliest_success(&self) -> Duration {
        let further_runs = self.success_threshold.get() - 1;
        let until_last_run = self.period.saturating_mul(further_runs);
        self.initial_delay.saturating_add(until_last_run)
    }
}

/// The check of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Handler {
    /// An HTTP GET request; a status from 200 to 399 is a success.
    HttpGet {
        /// The URL.
        url: Template,
        /// Names and values of headers, in the definition's order.
        headers: Vec<(String, Template)>,
    },
    /// A TCP connection; success means that it is accepted.
    TcpSocket {
        /// A name or an address.
        host: Template,
        /// A port.
        port: Template,
    },
    /// A command; exit status 0 is a success.
    Exec {
        /// The program and its arguments.
        command: Vec<Template>,
    },
}

/// A probe's handler for one process, with all references resolved.
///
/// An [`Exec`](Check::Exec) contains the process's variables. Do not print it. The enum is exhaustive because a runner has to know
/// every kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// `GET target` over plain HTTP.
    HttpGet {
        /// A name or an address, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Path and query, as sent in the request.
        target: String,
        /// Names and values of further headers.
        headers: Vec<(String, String)>,
    },
    /// A TCP connection.
    TcpSocket {
        /// A name or an address, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A command.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
        /// The working directory, absolute.
        cwd: Utf8PathBuf,
        /// The complete environment.
        env: Variables,
    },
}

/// Why a handler cannot be used for a process. No message contains the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The process does not have a variable that the handler refers to.
    #[error("the variable `{name}` is not set")]
    NotSet {
        /// The variable.
        name: String,
    },
    /// The resolved text is not a plain HTTP URL.
    #[error("cannot probe `{written}`: {why}")]
    Url {
        /// The URL as written in the definition.
        written: String,
        /// The problem.
        why: &'static str,
    },
    /// The URL contains a user name or a password.
    #[error("{}", url::CREDENTIALS)]
    Credentials,
    /// The resolved text is not a host.
    #[error("`{written}` is not a host name or an address")]
    Host {
        /// The host as written in the definition.
        written: String,
    },
    /// The resolved text is not a port.
    #[error("`{written}` is not a port from 1 to 65535")]
    Port {
        /// The port as written in the definition.
        written: String,
    },
    /// The resolved text cannot be sent as a header value.
    #[error("the value of the header `{name}` contains an invalid character")]
    Header {
        /// The header.
        name: String,
    },
}

impl Handler {
    /// The handler for a process with these `variables` and the working directory `cwd`.
    ///
    /// ```
    /// use daemon_model::{Check, Handler, Template};
    ///
    /// let handler = Handler::TcpSocket {
    ///     host: Template::literal("127.0.0.1"),
    ///     port: Template::parse("${PORT}")?,
    /// };
    /// let variables = [("PORT", "3001")].into_iter().collect();
    /// let check = handler.check(&variables, "/srv/api".into())?;
    /// assert_eq!(check, Check::TcpSocket { host: "127.0.0.1".to_owned(), port: 3001 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CheckError::NotSet`] when a variable is missing; [`CheckError::Url`], [`CheckError::Credentials`], [`CheckError::Host`],
    /// [`CheckError::Port`] and [`CheckError::Header`] when the resolved text is invalid.
    pub fn check(&self, variables: &Variables, cwd: &Utf8Path) -> Result<Check, CheckError> {
        let resolve = |template: &Template| {
            let resolved = template.resolve(|name| variables.get(name));
            resolved.map_err(|name| CheckError::NotSet {
                name: name.to_owned(),
            })
        };
        match self {
            Self::HttpGet { url, headers } => {
                let parts = url::parse(&resolve(url)?).map_err(|why| match why {
                    url::CREDENTIALS => CheckError::Credentials,
                    why => CheckError::Url {
                        written: url.to_string(),
                        why,
                    },
                })?;
                let header = |(name, value): &(String, Template)| {
                    let value = resolve(value)?;
                    match is_header_value(&value) {
                        true => Ok((name.clone(), value)),
                        false => Err(CheckError::Header { name: name.clone() }),
                    }
                };
                Ok(Check::HttpGet {
                    host: parts.host,
                    port: parts.port,
                    target: parts.target,
                    headers: headers.iter().map(header).collect::<Result<_, _>>()?,
                })
            }
            Self::TcpSocket { host, port } => {
                let to_port = |text: String| text.parse().ok().filter(|port| *port != 0);
                let unbracketed = url::host(&resolve(host)?).map(ToOwned::to_owned);
                Ok(Check::TcpSocket {
                    host: unbracketed.ok_or_else(|| CheckError::Host {
                        written: host.to_string(),
                    })?,
                    port: to_port(resolve(port)?).ok_or_else(|| CheckError::Port {
                        written: port.to_string(),
                    })?,
                })
            }
            Self::Exec { command } => Ok(Check::Exec {
                command: command.iter().map(resolve).collect::<Result<_, _>>()?,
                cwd: cwd.to_owned(),
                env: variables.clone(),
            }),
        }
    }

    /// An error that no value of a variable can fix, if there is one.
    pub(crate) fn certain_error(&self) -> Option<CheckError> {
        let references = self.templates().flat_map(Template::names);
        // A URL may start with a variable that contains several of its parts. Everywhere else, a digit is valid.
        let variables: Variables = references.map(|name| (name, "1")).collect();
        let holds_anything = match self {
            Self::HttpGet { url, .. } => url.begins_with_reference(),
            Self::TcpSocket { .. } | Self::Exec { .. } => false,
        };
        if holds_anything {
            return None;
        }
        self.check(&variables, Utf8Path::new("/")).err()
    }

    /// All its texts that may refer to variables.
    fn templates(&self) -> Box<dyn Iterator<Item = &Template> + '_> {
        match self {
            Self::HttpGet { url, headers } => {
                let values = headers.iter().map(|(_, value)| value);
                Box::new(std::iter::once(url).chain(values))
            }
            Self::TcpSocket { host, port } => Box::new([host, port].into_iter()),
            Self::Exec { command } => Box::new(command.iter()),
        }
    }
}

/// Whether a header may have this value.
///
/// Source: RFC 9110, section 5.5.
fn is_header_value(value: &str) -> bool {
    value
        .bytes()
        .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    fn http(url: &str) -> Handler {
        Handler::HttpGet {
            url: template(url),
            headers: vec![("X-Token".to_owned(), template("${TOKEN}"))],
        }
    }

    fn check(handler: &Handler, variables: &[(&str, &str)]) -> Result<Check, CheckError> {
        let variables = variables.iter().copied().collect();
        handler.check(&variables, "/w".into())
    }

    #[test]
    fn each_process_gets_its_own_variables() {
        for port in ["3000", "3001"] {
            let found = check(
                &http("http://127.0.0.1:${PORT}/ready?x=${PORT}"),
                &[("PORT", port), ("TOKEN", "t")],
            );
            let expected = Check::HttpGet {
                host: "127.0.0.1".to_owned(),
                port: port.parse().unwrap(),
                target: format!("/ready?x={port}"),
                headers: vec![("X-Token".to_owned(), "t".to_owned())],
            };
            assert_eq!(found, Ok(expected));
        }
        let whole = check(
            &http("${BASE}/ready"),
            &[("BASE", "http://[::1]:80"), ("TOKEN", "")],
        );
        assert!(matches!(whole, Ok(Check::HttpGet { host, port: 80, .. }) if host == "::1"));
        let command = Handler::Exec {
            command: vec![template("pg_isready"), template("--port=${PGPORT}")],
        };
        let Ok(Check::Exec { command, cwd, env }) = check(&command, &[("PGPORT", "5433")]) else {
            panic!("not a command");
        };
        assert_eq!(command, ["pg_isready", "--port=5433"]);
        assert_eq!(cwd, "/w");
        assert_eq!(env.get("PGPORT"), Some("5433"));
    }

    #[test]
    fn an_error_names_the_variable_and_never_its_value() {
        let tcp = |host: &str, port: &str| Handler::TcpSocket {
            host: template(host),
            port: template(port),
        };
        for (handler, variables, message) in [
            (tcp("${H}", "1"), vec![], "the variable `H` is not set"),
            (
                tcp("a", "${P}"),
                vec![("P", "secret")],
                "`${P}` is not a port from 1 to 65535",
            ),
            (
                tcp("a", "${P}"),
                vec![("P", "0")],
                "`${P}` is not a port from 1 to 65535",
            ),
            (
                tcp("a", "65536"),
                vec![],
                "`65536` is not a port from 1 to 65535",
            ),
            (
                tcp("${H}", "1"),
                vec![("H", "se cret")],
                "`${H}` is not a host name or an address",
            ),
            (
                http("${U}"),
                vec![("U", "secret"), ("TOKEN", "")],
                "cannot probe `${U}`: it does not begin with `http://`",
            ),
            (
                http("http://me:secret@localhost/"),
                vec![("TOKEN", "")],
                "probes do not send user names or passwords",
            ),
            (
                http("http://h/"),
                vec![("TOKEN", "secret\r\nX: y")],
                "the value of the header `X-Token` contains an invalid character",
            ),
        ] {
            assert_eq!(
                check(&handler, &variables).unwrap_err().to_string(),
                message
            );
        }
    }

    #[test]
    fn errors_that_no_variable_can_fix_are_found_early() {
        for (url, wrong) in [
            ("http://localhost:${PORT}/ready", false),
            ("http://${HOST}/${PATH}", false),
            ("${BASE}/ready", false),
            ("http:/localhost:${PORT}", true),
            ("https://localhost:${PORT}", true),
            ("http://local host:${PORT}", true),
            ("http://localhost:x${PORT}", true),
        ] {
            assert_eq!(http(url).certain_error().is_some(), wrong, "{url}");
        }
    }
}
