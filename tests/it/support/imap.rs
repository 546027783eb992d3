//! A minimal IMAP client that sends one command at a time.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpStream},
};

use super::dovecot::{PASSWORD, USER};

pub struct Imap {
    stream: BufReader<TcpStream>,
    pub greeting: String,
}

impl Imap {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // Disables Nagle's algorithm: each small write would wait for the server's delayed acknowledgement.
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).unwrap();
        Self { stream, greeting }
    }

    /// Logs in, unless the greeting was PREAUTH.
    pub fn login(&mut self) {
        self.login_as(USER);
    }

    pub fn login_as(&mut self, user: &str) {
        if !self.greeting.starts_with("* PREAUTH") {
            self.does(&format!("LOGIN {user} \"{PASSWORD}\""));
        }
    }

    /// Sends a command and returns the whole response, which must be OK.
    #[track_caller]
    pub fn does(&mut self, command: &str) -> String {
        let answer = self.tries(command);
        assert!(answer.lines().last().is_some_and(|line| line.starts_with("x OK")), "{command}: {answer}");
        answer
    }

    /// Sends a command and returns the whole response.
    pub fn tries(&mut self, command: &str) -> String {
        write!(self.stream.get_mut(), "x {command}\r\n").unwrap();
        self.answer("x ")
    }

    /// Appends a mail to a folder.
    #[track_caller]
    pub fn append(&mut self, folder: &str, mail: &[u8]) {
        write!(self.stream.get_mut(), "x APPEND \"{folder}\" {{{}}}\r\n", mail.len()).unwrap();
        let ready = self.answer("+");
        assert!(ready.starts_with('+'), "{ready}");
        self.stream.get_mut().write_all(&[mail, b"\r\n"].concat()).unwrap();
        let answer = self.answer("x ");
        assert!(answer.contains("x OK"), "APPEND to {folder}: {answer}");
    }

    /// Reads up to the line that begins with `last`, or with the end of the command.
    fn answer(&mut self, last: &str) -> String {
        let mut answer = String::new();
        loop {
            let begin = answer.len();
            assert_ne!(self.stream.read_line(&mut answer).unwrap(), 0, "hung up after {answer}");
            if answer[begin..].starts_with(last) || answer[begin..].starts_with("x ") {
                return answer.trim_end().to_owned();
            }
        }
    }
}
