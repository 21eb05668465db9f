//! A series of bins that grow wider as time goes on.

use std::time::Duration;

/// Bins of a series at most.
pub const BINS: usize = 128;

/// The width of a bin at first.
const NARROWEST: Duration = Duration::from_millis(1);

/// The content of one stretch of time.
pub trait Bin: Clone + Default {
    /// Adds the content of the stretch right after this one.
    fn absorb(&mut self, later: &Self);
}

/// At most [`BINS`] bins of equal width, from time zero on.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline<B> {
    width: Duration,
    bins: Vec<B>,
}

impl<B: Bin> Default for Timeline<B> {
    fn default() -> Self {
        Self { width: NARROWEST, bins: Vec::new() }
    }
}

impl<B: Bin> Timeline<B> {
    /// The bin of a time; inserts it if needed.
    pub fn at(&mut self, time: Duration) -> &mut B {
        let mut index = self.index(time);
        while index >= BINS {
            self.coarsen();
            index = self.index(time);
        }
        if index >= self.bins.len() {
            self.bins.resize_with(index + 1, B::default);
        }
        &mut self.bins[index]
    }

    pub const fn width(&self) -> Duration {
        self.width
    }

    /// The bins, the first of which begins at zero.
    pub fn bins(&self) -> &[B] {
        &self.bins
    }

    /// Merges neighbours until bins are at least `width` wide. Widths are powers of two of one another, so two series can be
    /// aligned.
    pub fn widen(&mut self, width: Duration) {
        while self.width < width {
            self.coarsen();
        }
    }

    fn index(&self, time: Duration) -> usize {
        // In 64 bits, which hold 584 years: this is asked for every handshake, and a division of 128 bits is slow.
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        usize::try_from(nanos(time) / nanos(self.width)).unwrap_or(usize::MAX)
    }

    fn coarsen(&mut self) {
        let merged = self.bins.chunks(2).map(|pair| {
            let mut bin = pair[0].clone();
            if let Some(later) = pair.get(1) {
                bin.absorb(later);
            }
            bin
        });
        self.bins = merged.collect();
        self.width *= 2;
    }
}
