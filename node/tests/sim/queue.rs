//! What will happen, by time. Events of one moment happen in the order in which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::world::Event;

/// The queue of a world. The heap moves places only: events are large, and stay where they were put.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    number: u64,
}

impl Queue {
    /// Puts an event in.
    pub fn push(&mut self, at_us: u64, event: Event) {
        self.number += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.heap.push(Reverse((at_us, self.number, place)));
    }

    /// Takes the next event out, with its time.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at_us, _, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at_us, self.events[place].take().expect("a place in the heap holds an event")))
    }
}
