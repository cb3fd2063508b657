//! Long histories that cannot be explained have short cores, which all orders confirm, and an impasse that a person can follow.

use std::sync::Arc;

use ordeal_history::linear::all_orders;
use ordeal_history::model::KeyModel;
use ordeal_history::{
    Answer, Budget, Call, Certificate, Claim, ClientId, History, Impasse, OpId, Operation, Outcome, Value,
    Verdict, check, impasse,
};

/// Operations one after the other, a microsecond each; what is answered is right, but for what a test changes.
struct Draft {
    operations: Vec<Operation>,
    value: String,
}

impl Draft {
    fn new() -> Draft {
        Draft { operations: Vec::new(), value: String::new() }
    }

    fn push(&mut self, call: Call, answer: Answer) {
        let at = self.operations.len() as u64;
        self.operations.push(Operation {
            id: OpId(at),
            client: ClientId(u32::try_from(at % 5).expect("small")),
            key: Arc::from("k"),
            call,
            invoked_ns: at * 1_000,
            returned: Some((at * 1_000 + 900, Outcome::Ok(answer, Claim::default()))),
            node: None,
        });
    }

    fn append(&mut self, word: &str) {
        self.value += word;
        self.push(Call::Append(word.into()), Answer::Done);
    }

    fn read(&mut self) {
        let value = (!self.value.is_empty()).then(|| Value::from(self.value.as_str()));
        self.push(Call::Read, Answer::Value(value));
    }

    fn cas(&mut self, new: &str) {
        let expected = (!self.value.is_empty()).then(|| Value::from(self.value.as_str()));
        self.value = new.to_owned();
        self.push(Call::Cas { expected, new: new.into() }, Answer::CasDone);
    }

    /// That it has no order, and a core of so many at most, which all orders confirm.
    fn core(self, most: usize) -> (Certificate, Impasse) {
        let history = History { operations: self.operations };
        let report = check(&history, &Budget::default(), &|_| {});
        assert_eq!(report.verdict, Verdict::Invalid);
        let certificate = report.keys[0].certificate.clone();
        let core = certificate.core(&history).expect("a core");
        assert!(core.len() <= most, "{certificate:?}");
        let entries: Vec<_> = core.iter().map(|(_, entry)| entry.clone()).collect();
        assert!(!all_orders(&KeyModel::default(), &entries), "{certificate:?}");
        let impasse = impasse(&history, &certificate).expect("a core this small has one");
        assert_eq!(impasse.order.len() + impasse.blocked.len(), core.len(), "{impasse:?}");
        assert!(!impasse.blocked.is_empty());
        (certificate, impasse)
    }
}

fn long_appends() -> Draft {
    let mut draft = Draft::new();
    for number in 0..300 {
        draft.append(&format!("w{number},"));
        draft.read();
    }
    draft
}

#[test]
fn a_long_key_of_appends_has_a_core_of_the_words_that_matter() {
    let mut lost = long_appends();
    lost.value = lost.value.replace("w150,", "");
    lost.read();
    let (certificate, impasse) = lost.core(3);
    assert_eq!(certificate.words(), [Value::from("w150,")]);
    assert_eq!(impasse.words, certificate.words());
    // Until the last read everything is in order.
    assert_eq!(impasse.prefix, Some((600, OpId(600))));

    let mut turned = long_appends();
    turned.value = turned.value.replace("w7,w8,", "w8,w7,");
    turned.read();
    let (certificate, _) = turned.core(4);
    assert_eq!(certificate.words().len(), 2, "{certificate:?}");

    let mut phantom = long_appends();
    phantom.value += "nobody,";
    phantom.read();
    assert_eq!(phantom.core(2).0.words(), [Value::from("nobody,")]);
}

#[test]
fn whole_values_are_left_out_of_a_core() {
    let mut draft = Draft::new();
    let write = |draft: &mut Draft, value: &str| {
        draft.value = value.to_owned();
        draft.push(Call::Write(value.into()), Answer::Done);
        draft.read();
    };
    for round in 0..40 {
        ["c", "d", "e"].iter().for_each(|value| write(&mut draft, value));
        match round {
            10 => write(&mut draft, "a"),
            20 => write(&mut draft, "b"),
            30 => {
                draft.value = "a".to_owned();
                draft.read();
            }
            _ => {}
        }
    }
    // The two writes, and reads that show in which order they came.
    let (certificate, impasse) = draft.core(5);
    assert!(certificate.words().is_empty());
    let why = &impasse.blocked.last().expect("the read").why;
    assert!(why.contains("was answered \"a\""), "{why}");
}

#[test]
fn what_came_long_before_is_forgotten() {
    let mut draft = Draft::new();
    for round in 0..40 {
        for value in ["a", "b", "c", "d"] {
            draft.value = value.to_owned();
            draft.push(Call::Write(value.into()), Answer::Done);
            draft.read();
            if round == 30 && value == "c" {
                draft.value = "a".to_owned();
                draft.read();
            }
        }
    }
    let (_, impasse) = draft.core(4);
    let why = &impasse.blocked.last().expect("the read").why;
    assert!(why.contains("was answered \"a\""), "{why}");
}

#[test]
fn a_chain_of_compare_and_sets_has_a_short_core_where_its_values_do_not_matter() {
    let mut draft = Draft::new();
    for round in 0..30 {
        // Two chains that share no value but those of their own round.
        draft.value = format!("w{round}");
        draft.push(Call::Write(Value::from(draft.value.as_str())), Answer::Done);
        draft.cas(&format!("x{round}"));
        draft.read();
    }
    draft.value = "x3".to_owned();
    draft.read();
    let (certificate, _) = draft.core(5);
    assert!(certificate.words().is_empty());
}
