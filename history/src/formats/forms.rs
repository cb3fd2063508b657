//! A total reader of EDN and of JSON: any bytes give forms or an error with line and column, never a panic.
//!
//! A file is a stream of forms, or one vector (or list) around all of them; either way they are handed out one by one.
//! Nothing is unbounded: [`DEPTH_MAX`], [`FORM_BYTES_MAX`], [`FORM_PARTS_MAX`].

use std::io::Read;

use super::cursor::Cursor;
use super::form::Form;
use super::trouble::{Place, Trouble};

/// Forms in forms. The deepest that is known, an exception as data in `:error`, is some ten deep; each level costs stack.
pub(crate) const DEPTH_MAX: usize = 64;

/// Bytes of one form, as of one line of our own format: [`crate::file::LINE_BYTES_MAX`].
pub(crate) const FORM_BYTES_MAX: u64 = 8 << 20;

/// Parts of one form, all levels together: a million of them take some 60 MB.
pub(crate) const FORM_PARTS_MAX: usize = 1 << 20;

/// Which of the two languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    Edn,
    Json,
}

/// What is around the forms.
#[derive(Debug, Clone, Copy)]
enum Around {
    /// Nothing has been read yet.
    Unknown,
    /// Nothing: they stand one after the other until the end.
    Nothing,
    /// A vector or list that ends with this byte.
    Until(u8),
    /// The vector or list is closed: nothing may follow.
    Closed,
}

/// Forms of a stream, one after the other.
pub(crate) struct Forms<R> {
    cursor: Cursor<R>,
    flavour: Flavour,
    around: Around,
    parts: usize,
    form_start: u64,
}

/// What comes next inside of a vector, list, map or set.
enum Next {
    Form(Form),
    Close,
}

const SYNTAX_HINT: &str = "restore the file, or remove what is damaged";

impl<R: Read> Forms<R> {
    pub(crate) fn new(inner: R, flavour: Flavour) -> Self {
        let cursor = Cursor::new(inner, usize::MAX);
        Forms { cursor, flavour, around: Around::Unknown, parts: 0, form_start: 0 }
    }

    /// The next form and where it begins; `None` at the end.
    pub(crate) fn next_form(&mut self) -> Result<Option<(Form, Place)>, Trouble> {
        loop {
            (self.form_start, self.parts) = (self.cursor.offset(), 0);
            self.skip_blank()?;
            (self.form_start, self.parts) = (self.cursor.offset(), 0);
            let place = self.cursor.place();
            let Some(byte) = self.cursor.peek()? else {
                return match self.around {
                    Around::Until(close) => {
                        Err(self.wrong(place, format!("the file ends before `{}`", close as char)))
                    }
                    Around::Unknown | Around::Nothing | Around::Closed => Ok(None),
                };
            };
            match (self.around, byte) {
                (Around::Unknown, b'[' | b'(') => {
                    self.cursor.next()?;
                    self.around = Around::Until(if byte == b'[' { b']' } else { b')' });
                }
                (Around::Until(close), byte) if close == byte => {
                    self.cursor.next()?;
                    self.around = Around::Closed;
                }
                (Around::Closed, _) => {
                    return Err(
                        self.wrong(place, "more after the end of the vector around the history".to_owned())
                    );
                }
                (Around::Unknown | Around::Nothing | Around::Until(_), _) => {
                    let is_first = matches!(self.around, Around::Unknown);
                    if let Some(form) = self.form_or_discard(place)? {
                        if is_first {
                            self.around = Around::Nothing;
                        }
                        return Ok(Some((form, place)));
                    }
                }
            }
        }
    }

    /// Bytes that were taken from the stream so far.
    pub(crate) fn taken(&self) -> u64 {
        self.cursor.offset()
    }

    /// A form, or nothing where `#_` threw one away.
    fn form_or_discard(&mut self, place: Place) -> Result<Option<Form>, Trouble> {
        match self.next(0, b'\0')? {
            Some(Next::Form(form)) => Ok(Some(form)),
            Some(Next::Close) => {
                Err(self.wrong(place, "a closing bracket without its opening one".to_owned()))
            }
            None => Ok(None),
        }
    }

    fn wrong(&self, place: Place, detail: String) -> Trouble {
        Trouble::at(place, detail, SYNTAX_HINT)
    }

    /// Whitespace, commas and comments.
    fn skip_blank(&mut self) -> Result<(), Trouble> {
        let is_blank = |byte: u8| matches!(byte, b'\n' | b' ' | b'\t' | b'\r' | b'\x0c' | b',');
        let mut in_comment = false;
        while let Some(byte) = self.cursor.peek()? {
            match byte {
                b'\n' if in_comment => in_comment = false,
                _ if in_comment => self.cursor.take_run(None, |byte| byte != b'\n'),
                _ if is_blank(byte) => self.cursor.take_run(None, is_blank),
                b';' if self.flavour == Flavour::Edn => in_comment = true,
                // The mark of UTF-8 that some editors put before the first byte.
                0xef if self.cursor.offset() == 0 => return self.skip_mark(),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn skip_mark(&mut self) -> Result<(), Trouble> {
        let place = self.cursor.place();
        for expected in [0xef, 0xbb, 0xbf] {
            if self.cursor.next()? != Some(expected) {
                return Err(self.wrong(place, "a byte that begins no form".to_owned()));
            }
        }
        self.skip_blank()
    }

    /// What comes next at this depth; `None`: something was thrown away.
    fn next(&mut self, depth: usize, close: u8) -> Result<Option<Next>, Trouble> {
        self.skip_blank()?;
        let place = self.cursor.place();
        if depth > DEPTH_MAX {
            return Err(self.wrong(place, format!("more than {DEPTH_MAX} forms in forms")));
        }
        self.parts += 1;
        if self.parts > FORM_PARTS_MAX {
            return Err(self.wrong(place, format!("one form of more than {FORM_PARTS_MAX} parts")));
        }
        self.within_bytes(place)?;
        let Some(byte) = self.cursor.peek()? else {
            return Err(self.wrong(place, "the file ends inside of a form".to_owned()));
        };
        let form = match (byte, self.flavour) {
            (b']' | b')' | b'}', _) if byte == close => {
                self.cursor.next()?;
                return Ok(Some(Next::Close));
            }
            (b']' | b')' | b'}', _) => {
                return Err(self.wrong(place, format!("`{}`, which closes nothing here", byte as char)));
            }
            (b'[', _) => Form::Vector(self.many(depth, b']')?),
            (b'{', _) => Form::Map(self.map(depth)?),
            (b'"', _) => Form::Text(self.text()?),
            (b'(', Flavour::Edn) => Form::List(self.many(depth, b')')?),
            (b'#', Flavour::Edn) => return self.hash(depth, place),
            (b'\\', Flavour::Edn) => Form::Char(self.char(place)?),
            (_, Flavour::Edn) => edn_word(&self.word()?).map_err(|detail| self.wrong(place, detail))?,
            (_, Flavour::Json) => json_word(&self.word()?).map_err(|detail| self.wrong(place, detail))?,
        };
        Ok(Some(Next::Form(form)))
    }

    fn within_bytes(&self, place: Place) -> Result<(), Trouble> {
        if self.cursor.offset() - self.form_start > FORM_BYTES_MAX {
            return Err(self.wrong(place, format!("one form of more than {FORM_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    fn many(&mut self, depth: usize, close: u8) -> Result<Vec<Form>, Trouble> {
        self.cursor.next()?;
        let mut parts = Vec::new();
        loop {
            match self.next(depth + 1, close)? {
                Some(Next::Form(form)) => parts.push(form),
                Some(Next::Close) => return Ok(parts),
                None => {}
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Form, Form)>, Trouble> {
        self.cursor.next()?;
        let mut entries = Vec::new();
        let mut key = None;
        loop {
            if self.flavour == Flavour::Json && key.is_some() {
                self.skip_blank()?;
                let place = self.cursor.place();
                if self.cursor.next()? != Some(b':') {
                    return Err(self.wrong(place, "expected `:` after the name in an object".to_owned()));
                }
            }
            self.skip_blank()?;
            let place = self.cursor.place();
            match (self.next(depth + 1, b'}')?, key.take()) {
                (Some(Next::Form(form)), None) => key = Some(form),
                (Some(Next::Form(form)), Some(key)) => entries.push((key, form)),
                (Some(Next::Close), None) => return Ok(entries),
                (Some(Next::Close), Some(key)) => {
                    return Err(self.wrong(place, format!("a map in which {key} has no value")));
                }
                (None, before) => key = before,
            }
        }
    }

    /// After `#`: a set, a thrown-away form, a symbolic number, a tag.
    fn hash(&mut self, depth: usize, place: Place) -> Result<Option<Next>, Trouble> {
        self.cursor.next()?;
        let form = match self.cursor.peek()? {
            Some(b'{') => Form::Set(self.many(depth, b'}')?),
            Some(b'_') => {
                self.cursor.next()?;
                self.one(depth + 1, place)?;
                return Ok(None);
            }
            Some(b'#') => {
                let word = self.word()?;
                match word.as_str() {
                    "#Inf" | "#-Inf" | "#NaN" => Form::Number(format!("#{word}")),
                    _ => return Err(self.wrong(place, format!("`#{word}` is no form"))),
                }
            }
            _ => {
                let tag = self.word()?;
                if !tag.starts_with(|char: char| char.is_alphabetic()) {
                    return Err(self.wrong(place, format!("`#{tag}` is no form")));
                }
                Form::Tagged(tag, Box::new(self.one(depth + 1, place)?))
            }
        };
        Ok(Some(Next::Form(form)))
    }

    /// One form, past any that are thrown away.
    fn one(&mut self, depth: usize, place: Place) -> Result<Form, Trouble> {
        loop {
            match self.next(depth, b'\0')? {
                Some(Next::Form(form)) => return Ok(form),
                Some(Next::Close) => return Err(self.wrong(place, "a tag without a form".to_owned())),
                None => {}
            }
        }
    }

    /// Bytes up to the next blank or bracket.
    fn word(&mut self) -> Result<String, Trouble> {
        let place = self.cursor.place();
        let is_edn = self.flavour == Flavour::Edn;
        let belongs = |byte: u8| match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | b',' => false,
            b'[' | b']' | b'(' | b')' | b'{' | b'}' | b'"' => false,
            b';' => !is_edn,
            b':' => is_edn,
            _ => true,
        };
        let mut bytes = Vec::new();
        while self.cursor.peek()?.is_some_and(belongs) {
            self.cursor.take_run(Some(&mut bytes), belongs);
            self.within_bytes(place)?;
        }
        self.utf8(bytes, place)
    }

    fn utf8(&self, bytes: Vec<u8>, place: Place) -> Result<String, Trouble> {
        String::from_utf8(bytes).map_err(|_| self.wrong(place, "the text is not UTF-8".to_owned()))
    }

    /// A string, from its quote to its quote.
    fn text(&mut self) -> Result<String, Trouble> {
        let start = self.cursor.place();
        self.cursor.next()?;
        let mut bytes = Vec::new();
        loop {
            let place = self.cursor.place();
            self.within_bytes(start)?;
            match self.cursor.next()? {
                None => return Err(self.wrong(start, "a string without its end".to_owned())),
                Some(b'"') => return self.utf8(bytes, start),
                Some(b'\\') => {
                    let char = self.escaped(place)?;
                    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(byte) => {
                    bytes.push(byte);
                    self.cursor.take_run(Some(&mut bytes), |byte| byte != b'"' && byte != b'\\');
                }
            }
        }
    }

    fn escaped(&mut self, place: Place) -> Result<char, Trouble> {
        Ok(match self.cursor.next()? {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') if self.flavour == Flavour::Json => '/',
            Some(b'u') => self.unicode(place)?,
            _ => return Err(self.wrong(place, "an escape that is not known".to_owned())),
        })
    }

    /// Four hexadecimal digits, and four more where they are the first half of a pair.
    fn unicode(&mut self, place: Place) -> Result<char, Trouble> {
        let unknown = |reader: &Self| reader.wrong(place, "`\\u` without a character".to_owned());
        let mut unit = self.hex4(place)?;
        if (0xd800..0xdc00).contains(&unit) {
            if self.cursor.next()? != Some(b'\\') || self.cursor.next()? != Some(b'u') {
                return Err(unknown(self));
            }
            let low = self.hex4(place)?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(unknown(self));
            }
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
        char::from_u32(unit).ok_or_else(|| unknown(self))
    }

    fn hex4(&mut self, place: Place) -> Result<u32, Trouble> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.cursor.next()?.and_then(|byte| (byte as char).to_digit(16));
            unit =
                unit * 16 + digit.ok_or_else(|| self.wrong(place, "`\\u` without four digits".to_owned()))?;
        }
        Ok(unit)
    }

    /// A character: `\a`, `\newline`, `\u0041`, and also `\(`.
    fn char(&mut self, place: Place) -> Result<char, Trouble> {
        self.cursor.next()?;
        let Some(first) = self.cursor.next()? else {
            return Err(self.wrong(place, "`\\` without a character".to_owned()));
        };
        let mut bytes = vec![first];
        bytes.extend_from_slice(self.rest_of_char(first)?.as_slice());
        let word = self.utf8(bytes, place)?;
        let mut chars = word.chars();
        let char = match (chars.next(), word.as_str()) {
            (_, "newline") => Some('\n'),
            (_, "return") => Some('\r'),
            (_, "space") => Some(' '),
            (_, "tab") => Some('\t'),
            (_, "formfeed") => Some('\u{c}'),
            (_, "backspace") => Some('\u{8}'),
            (char, _) if chars.as_str().is_empty() => char,
            (Some('u'), word) => u32::from_str_radix(&word[1..], 16).ok().and_then(char::from_u32),
            _ => None,
        };
        char.ok_or_else(|| self.wrong(place, format!("`\\{word}` is no character")))
    }

    /// What belongs to a character after its first byte: the rest of its name, or of its encoding.
    fn rest_of_char(&mut self, first: u8) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        while let Some(byte) = self.cursor.peek()? {
            let belongs = match first {
                _ if first.is_ascii_alphanumeric() => byte.is_ascii_alphanumeric(),
                0x80.. => byte & 0xc0 == 0x80,
                _ => false,
            };
            // The longest name is `backspace`.
            if !belongs || bytes.len() > 16 {
                break;
            }
            bytes.push(byte);
            self.cursor.next()?;
        }
        Ok(bytes)
    }
}

impl<'a> Forms<&'a [u8]> {
    /// Reads a text that is one form: a vector is that form, and not around several.
    pub(crate) fn of_one_text(text: &'a [u8], flavour: Flavour) -> Self {
        let cursor = Cursor::new(text, text.len());
        Forms { cursor, flavour, around: Around::Nothing, parts: 0, form_start: 0 }
    }
}

fn edn_word(word: &str) -> Result<Form, String> {
    let unknown = || format!("`{}` is no form", shortened(word));
    match word {
        "nil" => return Ok(Form::Nil),
        "true" => return Ok(Form::Bool(true)),
        "false" => return Ok(Form::Bool(false)),
        _ => {}
    }
    if let Some(name) = word.strip_prefix(':') {
        return if name.is_empty() || name == ":" {
            Err(unknown())
        } else {
            Ok(Form::Keyword(name.to_owned()))
        };
    }
    if begins_a_number(word) {
        return number(word).ok_or_else(unknown);
    }
    let begins_a_symbol = |char: char| char.is_alphabetic() || "._*+!-?$%&=<>/|'~@^`".contains(char);
    if word.starts_with(begins_a_symbol) { Ok(Form::Symbol(word.to_owned())) } else { Err(unknown()) }
}

fn json_word(word: &str) -> Result<Form, String> {
    match word {
        "null" => Ok(Form::Nil),
        "true" => Ok(Form::Bool(true)),
        "false" => Ok(Form::Bool(false)),
        _ if begins_a_number(word) => {
            number(word).ok_or_else(|| format!("`{}` is no number", shortened(word)))
        }
        _ => Err(format!("`{}` is no JSON", shortened(word))),
    }
}

fn shortened(word: &str) -> String {
    if word.is_empty() { "…".to_owned() } else { word.chars().take(40).collect() }
}

fn begins_a_number(word: &str) -> bool {
    word.trim_start_matches(['+', '-']).starts_with(|char: char| char.is_ascii_digit())
}

/// `12`, `-3`, `12N`, `1.5`, `1e9`, `2.5M`, `1/2`; nothing else.
fn number(word: &str) -> Option<Form> {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let integer = unsigned.strip_suffix('N').unwrap_or(unsigned);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(integer) {
        // Clojure reads `010` as 8: nobody who wrote it knows which was meant.
        if integer.len() > 1 && integer.starts_with('0') {
            return None;
        }
        let signed = word.strip_suffix('N').unwrap_or(word);
        return Some(signed.parse().map_or_else(|_| Form::Number(word.to_owned()), Form::Int));
    }
    let is_ratio = integer.split_once('/').is_some_and(|(over, under)| is_digits(over) && is_digits(under));
    let decimal = unsigned.strip_suffix('M').unwrap_or(unsigned);
    let is_decimal = decimal.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && decimal.parse::<f64>().is_ok();
    (is_ratio || is_decimal).then(|| Form::Number(word.to_owned()))
}
