//! A line of a script: its words in order, its settings by name, and errors that name what is wrong with it.

use std::collections::BTreeMap;
use std::error::Error;

use goldenscript::{Argument, Command};
use ordeal_client::wire::NodeId;

use crate::member::n;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The rest of a line, while it is read.
#[derive(Debug)]
pub struct Request {
    words: std::vec::IntoIter<String>,
    settings: BTreeMap<String, String>,
}

impl Request {
    /// The words of a line, its first included.
    pub fn new(command: &Command) -> Request {
        let mut words = vec![command.name.clone()];
        let mut settings = BTreeMap::new();
        for argument in &command.args {
            match argument {
                Argument::Positional(word) => words.push(word.clone()),
                Argument::KeyValue(key, value) => {
                    settings.insert(key.clone(), value.clone());
                }
                other => words.push(other.to_string()),
            }
        }
        Request { words: words.into_iter(), settings }
    }

    pub fn next(&mut self) -> Option<String> {
        self.words.next()
    }

    pub fn word(&mut self, what: &str) -> Outcome<String> {
        self.next().ok_or_else(|| format!("{what} is missing").into())
    }

    pub fn number(&mut self, what: &str) -> Outcome<u32> {
        Ok(self.word(what)?.parse()?)
    }

    /// `n3`.
    pub fn node(&mut self, what: &str) -> Outcome<NodeId> {
        let word = self.word(what)?;
        parse_node(&word).ok_or_else(|| format!("{word} is no node").into())
    }

    /// `n3`, or nothing.
    pub fn node_if_any(&mut self) -> Outcome<Option<NodeId>> {
        match self.next() {
            None => Ok(None),
            Some(word) => parse_node(&word).map(Some).ok_or_else(|| format!("{word} is no node").into()),
        }
    }

    /// A setting, taken out.
    pub fn setting(&mut self, key: &str) -> Option<String> {
        self.settings.remove(key)
    }

    pub fn number_if_set<T: std::str::FromStr<Err = std::num::ParseIntError>>(
        &mut self,
        key: &str,
    ) -> Outcome<Option<T>> {
        Ok(self.setting(key).map(|text| text.parse()).transpose()?)
    }

    /// Nothing may be left: a word that nobody reads would be a line that does not do what it says.
    pub fn end(mut self) -> Outcome<()> {
        if let Some(word) = self.next() {
            return Err(format!("nobody reads {word}").into());
        }
        match self.settings.pop_first() {
            Some((key, _)) => Err(format!("nobody reads {key}=").into()),
            None => Ok(()),
        }
    }
}

/// `n3`.
pub fn parse_node(word: &str) -> Option<NodeId> {
    word.strip_prefix('n')?.parse().ok().map(n)
}
