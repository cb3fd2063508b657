//! A form: any value of EDN, of which JSON is a part; and how keys and values of a history are written as forms.

use std::fmt::{self, Write};

use super::forms::{Flavour, Forms};

/// A value of EDN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `nil`, in JSON `null`.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// Any other number, as it was written: a long integer, a decimal, a ratio.
    Number(String),
    /// A character.
    Char(char),
    /// A string.
    Text(String),
    /// A keyword, without its colon.
    Keyword(String),
    /// A symbol.
    Symbol(String),
    /// `( … )`.
    List(Vec<Form>),
    /// `[ … ]`.
    Vector(Vec<Form>),
    /// `{ … }`, in the order of the file.
    Map(Vec<(Form, Form)>),
    /// `#{ … }`, in the order of the file.
    Set(Vec<Form>),
    /// `#tag form`.
    Tagged(String, Box<Form>),
}

impl Form {
    /// The form without tags around it.
    #[must_use]
    pub fn untagged(self) -> Form {
        match self {
            Form::Tagged(_, form) => form.untagged(),
            form => form,
        }
    }

    /// The name of a keyword, or the text of a string, as JSON has no keywords.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Form::Keyword(name) | Form::Text(name) => Some(name),
            _ => None,
        }
    }

    /// The two parts of a vector or list of two.
    #[must_use]
    pub fn pair(&self) -> Option<(&Form, &Form)> {
        match self {
            Form::Vector(parts) | Form::List(parts) => match parts.as_slice() {
                [first, second] => Some((first, second)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The parts of a vector or list.
    #[must_use]
    pub fn parts(&self) -> Option<&[Form]> {
        match self {
            Form::Vector(parts) | Form::List(parts) => Some(parts),
            _ => None,
        }
    }

    /// The text that stands for this form in a history: a string is itself, all else is written as EDN. Different forms
    /// have different texts, but for symbols, which are written like strings: a string that would be taken for another
    /// form keeps its quotes.
    #[must_use]
    pub fn to_value(&self) -> String {
        match self {
            Form::Text(text) if Form::of_value(text) == *self => text.clone(),
            form => form.to_string(),
        }
    }

    /// The form that a text of a history stands for: the reverse of [`Form::to_value`].
    #[must_use]
    pub fn of_value(text: &str) -> Form {
        let read = looks_like_a_form(text).then(|| sole_form(text)).flatten();
        match read {
            Some(Form::Text(inner)) if Form::Text(inner.clone()).to_value() == text => Form::Text(inner),
            Some(
                form @ (Form::Bool(_)
                | Form::Int(_)
                | Form::Number(_)
                | Form::Char(_)
                | Form::Keyword(_)
                | Form::List(_)
                | Form::Vector(_)
                | Form::Map(_)
                | Form::Set(_)
                | Form::Tagged(..)),
            ) if form.to_string() == text => form,
            _ => Form::Text(text.to_owned()),
        }
    }
}

impl Form {
    /// The form that a text is, or the text as a string where it is none.
    pub(crate) fn of_text(text: &str) -> Form {
        sole_form(text).filter(|form| form.to_string() == text).unwrap_or_else(|| Form::Text(text.to_owned()))
    }
}

/// Whether it is worth reading: most values are words or numbers.
fn looks_like_a_form(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'-' | b'+' | b'"' | b':' | b'[' | b'(' | b'{' | b'#' | b'\\') => true,
        _ => matches!(text, "true" | "false"),
    }
}

fn sole_form(text: &str) -> Option<Form> {
    let mut forms = Forms::of_one_text(text.as_bytes(), Flavour::Edn);
    let (form, _) = forms.next_form().ok()??;
    forms.next_form().ok()?.is_none().then_some(form)
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Nil => f.write_str("nil"),
            Form::Bool(value) => write!(f, "{value}"),
            Form::Int(value) => write!(f, "{value}"),
            Form::Number(text) | Form::Symbol(text) => f.write_str(text),
            Form::Char(char) => write_char(f, *char),
            Form::Text(text) => write_text(f, text),
            Form::Keyword(name) => write!(f, ":{name}"),
            Form::List(parts) => write_parts(f, "(", parts, ")"),
            Form::Vector(parts) => write_parts(f, "[", parts, "]"),
            Form::Set(parts) => write_parts(f, "#{", parts, "}"),
            Form::Map(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key} {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Form::Tagged(tag, form) => write!(f, "#{tag} {form}"),
        }
    }
}

fn write_parts(f: &mut fmt::Formatter<'_>, open: &str, parts: &[Form], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (at, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if at == 0 { "" } else { " " })?;
    }
    f.write_str(close)
}

fn write_char(f: &mut fmt::Formatter<'_>, char: char) -> fmt::Result {
    match char {
        '\n' => f.write_str("\\newline"),
        '\r' => f.write_str("\\return"),
        ' ' => f.write_str("\\space"),
        '\t' => f.write_str("\\tab"),
        char => write!(f, "\\{char}"),
    }
}

/// A string in quotes, as EDN and JSON both read it.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for char in text.chars() {
        match char {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            char if char.is_control() => write!(f, "\\u{:04x}", u32::from(char))?,
            char => f.write_char(char)?,
        }
    }
    f.write_char('"')
}

/// A form as JSON: keywords, symbols and characters become strings, lists and sets arrays.
pub(crate) struct Json<'a>(pub(crate) &'a Form);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Form::Nil => f.write_str("null"),
            Form::Bool(value) => write!(f, "{value}"),
            Form::Int(value) => write!(f, "{value}"),
            Form::Text(text) | Form::Number(text) | Form::Symbol(text) | Form::Keyword(text) => {
                write_text(f, text)
            }
            Form::Char(char) => write_text(f, char.encode_utf8(&mut [0; 4])),
            Form::Tagged(_, form) => write!(f, "{}", Json(form)),
            Form::List(parts) | Form::Vector(parts) | Form::Set(parts) => {
                f.write_str("[")?;
                for (at, part) in parts.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { "," }, Json(part))?;
                }
                f.write_str("]")
            }
            Form::Map(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    let name = key.name().map_or_else(|| key.to_string(), str::to_owned);
                    write!(
                        f,
                        "{}{}:{}",
                        if at == 0 { "" } else { "," },
                        Json(&Form::Text(name)),
                        Json(value)
                    )?;
                }
                f.write_str("}")
            }
        }
    }
}
