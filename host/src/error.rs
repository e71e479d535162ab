//! What a line's failure looks like to the client, and what the operator is told of it: two messages, one type.

use std::fmt;

use crate::escape::escape_line;

/// Longest text of an error line, in characters; what a guest returns beyond it is cut.
const MAX_TEXT: usize = 1024;
/// Bytes that are kept of a reason. A guest may return megabytes of it, and name its functions as it likes.
const MAX_REASON: usize = 4096;

/// The stable code of an error line. Clients match on it, so a code is never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The command itself reported that it failed.
    Failed,
    /// A WASI program exited with a status other than 0.
    Exit,
    /// The client has not shown that it is anyone's here.
    Denied,
    /// A wall-clock bound passed: the invocation's, or the connection's wait for a line.
    Timeout,
    /// The invocation used up its CPU time.
    Cpu,
    /// The invocation asked for more memory, handles or host objects than its limits allow.
    Memory,
    /// The invocation wrote more than its output limit.
    OutputLimit,
    /// The guest trapped.
    Trap,
    /// The tenant or the host runs as much as it may already.
    Overloaded,
    /// The input ended in the middle of a line.
    IncompleteLine,
    /// The line was longer than the bound.
    LineTooLong,
    /// The line was not UTF-8.
    BadEncoding,
    /// The command exists but cannot be run at present.
    Unavailable,
    /// The host's own fault.
    Internal,
}

impl Code {
    /// The code as it stands on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Failed => "failed",
            Code::Exit => "exit",
            Code::Denied => "denied",
            Code::Timeout => "timeout",
            Code::Cpu => "cpu",
            Code::Memory => "memory",
            Code::OutputLimit => "output-limit",
            Code::Trap => "trap",
            Code::Overloaded => "overloaded",
            Code::IncompleteLine => "incomplete-line",
            Code::LineTooLong => "line-too-long",
            Code::BadEncoding => "bad-encoding",
            Code::Unavailable => "unavailable",
            Code::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a line failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code on the wire.
    pub code: Code,
    /// What the client reads. Holds no path of the host and no cause inside it.
    pub text: String,
    /// What the operator reads in the log, where there is more to say.
    pub cause: Option<String>,
    /// The status that a program of WASI exited with.
    pub status: Option<i32>,
}

impl Failure {
    /// A failure that says the same to both.
    pub fn new(code: Code, text: impl Into<String>) -> Failure {
        Failure { code, text: bounded(text.into()), cause: None, status: None }
    }

    /// The failure of a program that exited with a status other than 0.
    pub fn exit(status: i32) -> Failure {
        Failure { status: Some(status), ..Failure::new(Code::Exit, format!("status {status}")) }
    }

    /// Adds what only the operator is told.
    pub fn because(mut self, cause: impl fmt::Display) -> Failure {
        self.cause = Some(bounded(cause.to_string()));
        self
    }

    /// The whole error line, with its line end. One line whatever the text holds, and safe for a terminal.
    pub fn line(&self) -> String {
        let first = self.text.lines().next().unwrap_or_default();
        let cut: String = first.chars().take(MAX_TEXT).collect();
        format!("error: {}: {}\n", self.code, escape_line(&cut))
    }
}

/// As much of a reason as is kept of it.
pub fn bounded(mut reason: String) -> String {
    if reason.len() > MAX_REASON {
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        reason.push('…');
        reason.shrink_to_fit();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_line_is_one_clean_line() {
        let failure = Failure::new(Code::Failed, "bad \x1b[2J thing\nforged line");
        assert_eq!(failure.line(), "error: failed: bad \\x1b[2J thing\n");
    }

    #[test]
    fn an_endless_text_is_cut() {
        let failure = Failure::new(Code::Failed, "x".repeat(1 << 20));
        assert_eq!(failure.line().len(), "error: failed: \n".len() + MAX_TEXT);
        // The operator reads more of it, and not all.
        let failure = failure.because("ä".repeat(1 << 20));
        for kept in [failure.text.len(), failure.cause.unwrap().len()] {
            assert!((MAX_REASON - 4..MAX_REASON + 4).contains(&kept), "{kept}");
        }
    }
}
