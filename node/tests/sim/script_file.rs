//! A plan and its script as a text file, to read, to edit and to play again with `cargo sim --script=FILE`.
//!
//! ```text
//! set nodes 3          the settings of the plan; those that are not named are 0
//! 0.500000 c3 write 1  the script
//! # a remark
//! ```

use std::str::FromStr;

use ordeal_client::wire::NodeId;

use crate::deaths::Death;
use crate::plan::{Plan, SECOND_US};
use crate::script::{Act, CallKind, Fault, Line, Script, Ways, When, Who, Wish};
use crate::shards::Reshape;

/// Writes a plan and its script.
pub fn print(plan: &Plan, script: &Script) -> String {
    let mut plan = plan.clone();
    let mut text = String::new();
    for (name, value) in plan.settings() {
        text.push_str(&format!("set {name} {value}\n"));
    }
    script.0.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    text
}

/// Reads what [`print`] wrote; the error names the line.
pub fn parse(text: &str) -> Result<(Plan, Script), String> {
    let (mut plan, mut script) = (Plan::default(), Script::default());
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let read = match words[..] {
            [] => Ok(()),
            ["set", name, value] => set(&mut plan, name, value),
            [time, ref act @ ..] => line_of(time, act)
                .map(|line| script.0.push(line))
                .ok_or_else(|| "no line of a script".to_owned()),
        };
        read.map_err(|what| format!("line {}: {what}: {line}", number + 1))?;
    }
    script.0.sort_by_key(|line| line.at_us);
    check(&plan, &script)?;
    Ok((plan, script))
}

/// Whether it can be played at all.
fn check(plan: &Plan, script: &Script) -> Result<(), String> {
    let sizes =
        [("nodes", plan.nodes), ("groups", plan.groups), ("shards", plan.shards), ("sharing", plan.sharing)];
    for (what, value) in sizes {
        if !(1..=16).contains(&value) {
            return Err(format!("set {what} must be from 1 to 16"));
        }
    }
    let known = |line: &Line| match &line.act {
        Act::Call { client, slot, .. } => (*client as u64) < plan.clients && (*slot as u64) < plan.slots,
        Act::Reshape(wish) => wish.fits(plan),
        Act::Fault { fault, .. } => match fault.who() {
            Who::Leader => true,
            Who::Nodes(nodes) => nodes.iter().all(|node| (1..=plan.nodes).contains(&u64::from(node.0))),
        },
    };
    match script.0.iter().find(|line| !known(line)) {
        Some(line) => Err(format!("of a node, a client or a slot that the plan has not: {line}")),
        None => Ok(()),
    }
}

fn set(plan: &mut Plan, name: &str, value: &str) -> Result<(), String> {
    let value = value.parse().map_err(|_| "no number".to_owned())?;
    let setting = plan.settings().into_iter().find(|(known, _)| *known == name);
    *setting.ok_or_else(|| "no setting of a plan".to_owned())?.1 = value;
    Ok(())
}

fn line_of(time: &str, words: &[&str]) -> Option<Line> {
    let at_us = microseconds(time)?;
    let act = match words {
        [client, call, slot]
            if client.strip_prefix('c').is_some_and(|rest| rest.parse::<usize>().is_ok()) =>
        {
            Act::Call {
                client: client.strip_prefix('c')?.parse().ok()?,
                call: CallKind::ALL.into_iter().find(|kind| kind.name() == *call)?,
                slot: slot.parse().ok()?,
            }
        }
        wish if Reshape::parse(wish).is_some() => Act::Reshape(Reshape::parse(wish)?),
        [fault @ .., "for", lasts] => Act::Fault { fault: fault_of(fault)?, lasts_us: microseconds(lasts)? },
        fault => Act::Fault { fault: fault_of(fault)?, lasts_us: 0 },
    };
    Some(Line { at_us, act })
}

fn fault_of(words: &[&str]) -> Option<Fault> {
    Some(match words {
        ["crash" | "power", rest @ ..] => {
            let (who, death) = rest.split_at(rest.iter().position(|word| *word == "after")?);
            let (when, who) = match who {
                [who @ .., "writing"] => (When::Writing, who),
                [who @ .., "voting"] => (When::Voting, who),
                who => (When::Now, who),
            };
            let death = Death::parse(death).filter(|death| death.power.is_some() == (words[0] == "power"))?;
            Fault::Crash { who: who_of(who)?, when, death }
        }
        ["fail", who @ .., "after", after] => {
            Fault::FailDisk { who: who_of(who)?, after: after.parse().ok()? }
        }
        ["fill", who @ ..] => Fault::Fill { who: who_of(who)? },
        ["rot", who @ ..] => Fault::Rot { who: who_of(who)? },
        ["pause", who @ ..] => Fault::Pause { who: who_of(who)? },
        ["cut", who @ .., way, "rest"] => {
            let ways = match *way {
                ">" => Ways::Out,
                "<" => Ways::In,
                "<>" => Ways::Both,
                _ => return None,
            };
            Fault::Cut { who: who_of(who)?, ways }
        }
        ["stall", who @ ..] => Fault::Stall { who: who_of(who)? },
        ["reset", who @ ..] => Fault::Reset { who: who_of(who)? },
        ["jump", who @ .., "ticks", ticks] => Fault::Jump { who: who_of(who)?, ticks: ticks.parse().ok()? },
        [wish, who @ ..] if Wish::ALL.iter().any(|known| known.name() == *wish) => {
            let what = Wish::ALL.into_iter().find(|known| known.name() == *wish)?;
            Fault::Ask { who: who_of(who)?, what }
        }
        _ => return None,
    })
}

fn who_of(words: &[&str]) -> Option<Who> {
    match words {
        [] => None,
        ["leader"] => Some(Who::Leader),
        nodes => nodes.iter().map(|node| NodeId::from_str(node).ok()).collect::<Option<_>>().map(Who::Nodes),
    }
}

fn microseconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits =
        (part.len() <= 6 && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| format!("{part:0<6}"))?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(SECOND_US)?.checked_add(digits.parse().ok()?)
}
