//! Asks the user on a terminal.

use std::io::IsTerminal;
use std::sync::mpsc::channel;
use std::time::Duration;

use reconcile::StopFlag;

use super::{Printer, text};

impl Printer {
    /// Whether the command asks for confirmations on the terminal.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.can_ask && !self.is_json() && self.err.is_terminal && std::io::stdin().is_terminal()
    }

    /// Asks the user, without a time limit. Answers no if `stop` is set in the meantime.
    #[must_use]
    pub fn confirms(&self, question: &str, stop: &StopFlag) -> bool {
        self.write_err(&format!("{} [y/N] ", text::escape(question)));
        let (sender, answers) = channel();
        let ask = move || {
            let mut answer = String::new();
            let read = std::io::stdin().read_line(&mut answer);
            let is_yes = matches!(answer.trim(), "y" | "Y" | "yes" | "Yes");
            // Without a receiver, the program is ending.
            let _ = sender.send(read.is_ok() && is_yes);
        };
        let asked = std::thread::Builder::new()
            .name("pm2-sync prompt".to_owned())
            .spawn(ask);
        while asked.is_ok() && !stop.is_set() {
            if let Ok(answer) = answers.recv_timeout(Duration::from_millis(50)) {
                return answer;
            }
        }
        // Move the cursor below the question.
        self.write_err("\n");
        false
    }
}
