//! Results of `faults`: what every single hit on a stored word does to every sample, and how many hits it withstands.

use crate::certify::{CleanParts, clean_fields, fraction, verdict as verdict_name};
use crate::count::{Counter, Predicted};
use crate::field::{Field, Total};
use crate::hit::HitReport;
use crate::report::Record;
use crate::table::{Side, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weightproof::faults::{BreakingHit, FaultCounts, Memory, SampleFaults, SampleWords, WordHit};
use weightproof::verdict::{Reason, Verdict};
use weightproof_figure::number::{grouped, percent, percent_or_dash, value};

/// How many words the report lists.
const WORDS: usize = 20;
/// How many of them the text shows.
const SHOWN: usize = 5;

/// What single hits do to one sample.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Index in the data set.
    pub index: usize,
    /// The given label.
    pub label: Option<u32>,
    /// Class with the largest output of the network that runs, without faults.
    pub predicted: u32,
    /// Its margin.
    pub margin: f64,
    /// `verified` when no set of at most as many hits as are asked for breaks the property.
    pub verdict: Verdict,
    /// Why it is not verified; `format-range` where a hit leaves an infinity or NaN, and no other breaks it.
    pub reason: Option<Reason>,
    /// Hits that break the property, without those that leave no finite number.
    pub breaking: u64,
    /// Hits after which the property holds, where it does not without faults.
    pub repairing: u64,
    /// Hits that are too close to call.
    pub undecided: u64,
    /// The first hit that breaks it, in the order of layers, words and bits.
    pub hit: Option<HitReport>,
    /// The margin after that hit, by the plain forward pass.
    pub hit_margin: Option<f64>,
    /// So many hits, on different words, are proved to be harmless, whichever they are.
    pub certified_words: u32,
    /// So many were found to break the sample; 0 when it is broken without, `null` when none were found.
    pub broken_words: Option<u32>,
    /// So many does progressive bit search need; `null` when it finds none.
    pub gradient_words: Option<u32>,
    /// Those that were found: `fc1[3, 17] bit 7 0→1; fc2 bias 3 bit 6 1→0`.
    pub broken_by: Option<String>,
    /// The margin after them, by the plain forward pass.
    pub broken_margin: Option<f64>,
    /// First hits of pairs that the search for pairs looked at.
    pub nodes: usize,
}

impl FaultRecord {
    /// Of what was found in `memory`, where up to `most` words are hit.
    pub fn new(found: &SampleFaults, words: &SampleWords, most: u32, memory: &Memory) -> Self {
        let CleanParts { index, label, predicted, margin } = CleanParts::from(&found.clean);
        let hit = |b: &BreakingHit| HitReport::new(memory, b.layer, b.word, &b.hit);
        let name = |h: &WordHit| HitReport::new(memory, h.layer, h.word, &h.hit).named();
        let names: Vec<String> = words.hits.iter().map(name).collect();
        let (verdict, reason) = words.verdict(most, found);
        FaultRecord {
            index,
            label,
            predicted,
            margin,
            verdict,
            reason,
            breaking: found.breaking,
            repairing: found.repairing,
            undecided: found.undecided,
            hit: found.first.as_ref().map(hit),
            hit_margin: found.first.map(|b| b.margin),
            certified_words: words.certified,
            broken_words: words.broken,
            gradient_words: words.by_gradient,
            broken_by: (!names.is_empty()).then(|| names.join("; ")),
            broken_margin: words.margin,
            nodes: words.nodes,
        }
    }
}

/// Hits on one position of the words of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BitReport {
    /// Name of the layer.
    pub layer: String,
    /// Highest bit that changes, 0 the lowest.
    pub bit: u32,
    /// Hits on this position.
    pub hits: u64,
    /// Those that break at least one sample.
    pub critical: u64,
    /// Pairs of hit and sample in which the hit breaks the sample.
    pub breaking: u64,
    /// Of these, pairs in which the bit became 1.
    pub breaking_up: u64,
    /// Pairs that are too close to call.
    pub undecided: u64,
    /// Hits that leave an infinity or NaN.
    pub not_finite: u64,
    /// Samples that at least one of the hits breaks, or may.
    pub samples: usize,
}

/// A position to protect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProtectionReport {
    /// Name of the layer.
    pub layer: String,
    /// The position.
    pub bit: u32,
    /// Bits that this protects.
    pub bits: u64,
    /// Samples that no single hit breaks when this position and those before it are protected.
    pub certified: usize,
}

/// A word whose hits break samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WordReport {
    /// The hit on it that breaks most samples.
    #[serde(flatten)]
    pub worst: HitReport,
    /// Samples that this hit breaks.
    pub samples: u32,
    /// Pairs of hit and sample in which a hit on the word breaks the sample.
    pub breaking: u64,
}

/// What up to so many hits on different words do to the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WordsReport {
    /// The most words that are hit.
    pub words: u32,
    /// Samples that no such set of hits breaks: proved.
    pub certified: usize,
    /// `certified / samples`.
    pub certified_accuracy: f64,
    /// Samples that such a set breaks, those that are broken without faults included: found.
    pub broken: usize,
    /// Share of the others: what is certified is at most this.
    pub attacked_accuracy: f64,
    /// Samples that progressive bit search breaks, those that are broken without faults included.
    pub broken_by_gradient: usize,
}

/// Numbers over all samples of `faults`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultSummary {
    /// Number of samples.
    pub samples: usize,
    /// Samples whose prediction is their label, without faults; `null` without labels.
    pub correct: Option<usize>,
    /// `correct / samples`.
    pub accuracy: Option<f64>,
    /// Samples that no set of at most as many hits as are asked for breaks.
    pub certified: usize,
    /// `certified / samples`.
    pub certified_accuracy: f64,
    /// Words that may be hit.
    pub words: usize,
    /// Hits on them: words times changes of each.
    pub hits_per_sample: u64,
    /// Pairs of hit and sample that were settled, those that are too close to call and those that leave no finite number included.
    pub hits: u64,
    /// Pairs in which the hit breaks the sample.
    pub breaking: u64,
    /// Pairs that are too close to call.
    pub undecided: u64,
    /// Hits that leave an infinity or NaN; with any of them no sample is certified.
    pub not_finite: u64,
    /// Hits that break at least one sample.
    pub critical: u64,
    /// Accuracy after the worst hit, its mean over all hits, and what one hit in a thousand, in a hundred and in two leave at most;
    /// `null` without hits.
    pub least_accuracy: Option<f64>,
    /// Mean accuracy over all hits that leave finite numbers.
    pub mean_accuracy: Option<f64>,
    /// What one hit in a thousand leaves at most.
    pub thousandth_accuracy: Option<f64>,
    /// What one hit in a hundred leaves at most.
    pub hundredth_accuracy: Option<f64>,
    /// What half of all hits leave at most.
    pub median_accuracy: Option<f64>,
    /// What up to so many hits do, from one on.
    #[serde(skip)]
    pub by_words: Vec<WordsReport>,
    /// Counts for each layer and bit.
    #[serde(skip)]
    pub by_bit: Vec<BitReport>,
    /// What to protect, one position after the other.
    #[serde(skip)]
    pub protection: Vec<ProtectionReport>,
    /// The words whose hits break most, the worst first.
    #[serde(skip)]
    pub critical_words: Vec<WordReport>,
    /// Whether the text shows what to protect.
    #[serde(skip)]
    pub recommends: bool,
    /// What the numbers are counted from; those of parts of the samples add up.
    #[serde(skip)]
    pub counts: FaultCounts,
}

/// Counts what single hits do to samples.
#[derive(Clone, Debug)]
pub struct FaultCounter {
    counts: FaultCounts,
    recommends: bool,
    predicted: Predicted,
    certified: usize,
    undecided: u64,
    /// Samples certified, broken, and broken by progressive bit search, for each number of words from one on.
    by_words: Vec<[usize; 3]>,
}

impl FaultCounter {
    /// Of samples over which hits do what `counts` say, where up to `words` words are hit; `recommends` says whether the text shows what to
    /// protect.
    pub fn new(counts: FaultCounts, words: u32, recommends: bool) -> Self {
        let by_words = vec![[0; 3]; words as usize];
        FaultCounter {
            counts,
            recommends,
            predicted: Predicted::default(),
            certified: 0,
            undecided: 0,
            by_words,
        }
    }
}

impl Counter<FaultRecord> for FaultCounter {
    fn add(&mut self, record: &FaultRecord) {
        self.predicted.add(record.label, record.predicted);
        self.certified += usize::from(record.holds());
        self.undecided += record.undecided;
        for (counts, words) in self.by_words.iter_mut().zip(1..) {
            let broken = record.broken_words.is_some_and(|broken| broken <= words);
            let without = record.broken_words == Some(0);
            let by_gradient = without || record.gradient_words.is_some_and(|broken| broken <= words);
            let is = [record.certified_words >= words, broken, by_gradient];
            counts.iter_mut().zip(is).for_each(|(count, is)| *count += usize::from(is));
        }
    }

    fn finish(self) -> FaultSummary {
        let FaultCounter { counts, recommends, predicted, certified, undecided, by_words } = self;
        let name = |layer: usize| counts.layer(layer).to_owned();
        let by_bit: Vec<BitReport> = counts
            .by_bit()
            .into_iter()
            .map(|count| BitReport {
                layer: name(count.layer),
                bit: count.bit,
                hits: count.hits,
                critical: count.critical,
                breaking: count.breaking,
                breaking_up: count.up,
                undecided: count.undecided,
                not_finite: count.not_finite,
                samples: count.samples,
            })
            .collect();
        let protection = counts.protection().into_iter().map(|step| ProtectionReport {
            layer: name(step.layer),
            bit: step.bit,
            bits: step.protects,
            certified: step.certified,
        });
        let words = counts.critical_words(WORDS).into_iter().map(|word| WordReport {
            worst: HitReport::counted(&counts, &word.worst),
            samples: word.worst.broken,
            breaking: word.breaking,
        });
        let accuracies = counts.accuracies();
        let samples = predicted.samples;
        let of_words = |(words, [certified, broken, broken_by_gradient]): (u32, [usize; 3])| WordsReport {
            words,
            certified,
            certified_accuracy: fraction(certified, samples),
            broken,
            attacked_accuracy: fraction(samples - broken, samples),
            broken_by_gradient,
        };
        let hits_per_sample = by_bit.iter().map(|count| count.hits).sum::<u64>();
        FaultSummary {
            samples: predicted.samples,
            correct: predicted.correct,
            accuracy: predicted.accuracy(),
            certified,
            certified_accuracy: fraction(certified, predicted.samples),
            words: counts.words,
            hits_per_sample,
            hits: hits_per_sample * predicted.samples as u64,
            breaking: by_bit.iter().map(|count| count.breaking).sum(),
            undecided,
            not_finite: by_bit.iter().map(|count| count.not_finite).sum(),
            critical: by_bit.iter().map(|count| count.critical).sum(),
            least_accuracy: accuracies.map(|a| a.least),
            mean_accuracy: accuracies.map(|a| a.mean),
            thousandth_accuracy: accuracies.map(|a| a.thousandth),
            hundredth_accuracy: accuracies.map(|a| a.hundredth),
            median_accuracy: accuracies.map(|a| a.median),
            by_words: (1..).zip(by_words).map(of_words).collect(),
            protection: protection.collect(),
            critical_words: words.collect(),
            by_bit,
            recommends,
            counts,
        }
    }
}

impl FaultSummary {
    fn bits_table(&self) -> String {
        let sides =
            [Side::Left, Side::Right, Side::Right, Side::Right, Side::Right, Side::Right, Side::Right];
        let mut table = Table::new(sides);
        table.push(["layer", "bit", "hits", "critical", "breaking pairs", "of them 0→1", "samples"]);
        let counts = |c: &&BitReport| c.breaking + c.undecided + c.not_finite > 0;
        if !self.by_bit.iter().any(|c| counts(&c)) {
            return String::new();
        }
        for c in self.by_bit.iter().rev().filter(counts) {
            table.push([
                c.layer.clone(),
                c.bit.to_string(),
                grouped(c.hits as usize),
                grouped(c.critical as usize),
                grouped(c.breaking as usize),
                grouped(c.breaking_up as usize),
                grouped(c.samples),
            ]);
        }
        table.to_string()
    }

    fn curve_table(&self) -> String {
        let mut table = Table::new([Side::Right; 5]);
        table.push(["words hit", "certified accuracy", "attacked accuracy", "broken", "by bit search"]);
        for at in &self.by_words {
            table.push([
                at.words.to_string(),
                percent(at.certified_accuracy),
                percent(at.attacked_accuracy),
                grouped(at.broken),
                grouped(at.broken_by_gradient),
            ]);
        }
        table.to_string()
    }

    fn words_table(&self) -> String {
        let mut table =
            Table::new([Side::Left, Side::Right, Side::Left, Side::Right, Side::Right, Side::Right]);
        table.push(["word", "bit", "flip", "from", "to", "samples broken"]);
        for word in self.critical_words.iter().take(SHOWN) {
            let hit = &word.worst;
            table.push([
                hit.place(),
                hit.bit.to_string(),
                hit.direction.to_string(),
                value(hit.before),
                value(hit.after),
                grouped(word.samples as usize),
            ]);
        }
        table.to_string()
    }

    fn protection_table(&self) -> String {
        let mut table = Table::new([Side::Left, Side::Right, Side::Right, Side::Right, Side::Right]);
        table.push(["protect layer", "bit", "bits", "bits so far", "certified"]);
        let mut so_far = 0;
        for step in &self.protection {
            so_far += step.bits as usize;
            table.push([
                step.layer.clone(),
                step.bit.to_string(),
                grouped(step.bits as usize),
                grouped(so_far),
                percent(fraction(step.certified, self.samples)),
            ]);
        }
        table.to_string()
    }
}

/// Fields of the first hit that breaks a sample.
fn hit_fields() -> Vec<Field<FaultRecord>> {
    fn of<T>(r: &FaultRecord, get: impl Fn(&HitReport) -> T) -> Option<T> {
        r.hit.as_ref().map(get)
    }
    vec![
        Field::text("hit_layer", |r| of(r, |hit| hit.layer.clone())).nested("hit", "layer"),
        Field::integer("hit_row", |r| of(r, |hit| hit.row as u64)).nested("hit", "row"),
        Field::integer("hit_column", |r| of(r, |hit| hit.column).flatten().map(|column| column as u64))
            .nested("hit", "column"),
        Field::integer("hit_bit", |r| of(r, |hit| u64::from(hit.bit))).nested("hit", "bit"),
        Field::text("hit_direction", |r| of(r, |hit| hit.direction.to_string())).nested("hit", "direction"),
        Field::number("hit_before", |r| of(r, |hit| hit.before)).nested("hit", "before"),
        Field::number("hit_after", |r| of(r, |hit| hit.after)).nested("hit", "after"),
    ]
}

impl Record for FaultRecord {
    type Summary = FaultSummary;
    const COMMAND: &'static str = "faults";
    const FAILING: &'static str = "not certified";

    fn holds(&self) -> bool {
        self.verdict == Verdict::Verified
    }

    fn fields(_: Option<&FaultSummary>) -> Vec<Field<Self>> {
        let mut fields = clean_fields!(Self);
        fields.extend([
            Field::text("verdict", |r: &Self| Some(verdict_name(r.verdict))),
            Field::text("reason", |r: &Self| r.reason.map(Reason::name)).listed("reason"),
            Field::integer("breaking", |r: &Self| Some(r.breaking))
                .listed("breaking hits")
                .shown(|r| grouped(r.breaking as usize)),
            Field::integer("repairing", |r: &Self| Some(r.repairing)),
            Field::integer("undecided", |r: &Self| Some(r.undecided)),
        ]);
        fields.extend(hit_fields());
        fields.extend([
            Field::number("hit_margin", |r: &Self| r.hit_margin),
            Field::integer("certified_words", |r: &Self| Some(u64::from(r.certified_words))),
            Field::integer("broken_words", |r: &Self| r.broken_words.map(u64::from)),
            Field::integer("gradient_words", |r: &Self| r.gradient_words.map(u64::from)),
            Field::text("broken_by", |r: &Self| r.broken_by.clone()).listed("broken by"),
            Field::number("broken_margin", |r: &Self| r.broken_margin).listed("margin after it"),
            Field::integer("nodes", |r: &Self| Some(r.nodes as u64)),
        ]);
        fields
    }

    fn totals() -> Vec<Total<FaultSummary>> {
        vec![
            Total::new("samples", "", |s: &FaultSummary| grouped(s.samples)),
            Total::new("accuracy", "measured", |s: &FaultSummary| percent_or_dash(s.accuracy)),
            Total::by_method("certified accuracy", |s: &FaultSummary| percent(s.certified_accuracy)),
            Total::by_method("worst hit leaves", |s: &FaultSummary| percent_or_dash(s.least_accuracy)),
            Total::by_method("mean over hits", |s: &FaultSummary| percent_or_dash(s.mean_accuracy)),
            Total::by_method("1 of 1,000 hits leaves", |s: &FaultSummary| {
                percent_or_dash(s.thousandth_accuracy)
            }),
        ]
    }

    fn curves(s: &FaultSummary, guarantee: &'static str) -> Vec<(String, String)> {
        let critical = match s.critical {
            0 => "no single hit breaks a sample".into(),
            n => format!(
                "{} of {} hits break a sample",
                grouped(n as usize),
                grouped(s.hits_per_sample as usize)
            ),
        };
        let mut title =
            format!("{critical}; {} pairs of hit and sample settled, {guarantee}", grouped(s.hits as usize));
        if s.undecided > 0 {
            title += &format!("; {} undecided", grouped(s.undecided as usize));
        }
        if s.not_finite > 0 {
            title += &format!("; {} hits leave an infinity or NaN", grouped(s.not_finite as usize));
        }
        let mut all = vec![(title, s.bits_table())];
        if s.by_words.len() > 1 {
            all.insert(
                0,
                (format!("words hit at once: certified {guarantee}, attacked found"), s.curve_table()),
            );
        }
        if !s.critical_words.is_empty() {
            all.push((format!("words whose hits break most, {guarantee}"), s.words_table()));
        }
        if s.recommends && !s.protection.is_empty() {
            all.push((format!("what to protect, most samples first, {guarantee}"), s.protection_table()));
        }
        all
    }

    fn more_fields(s: &FaultSummary) -> Vec<(&'static str, Value)> {
        vec![
            ("by_words", json!(s.by_words)),
            ("by_bit", json!(s.by_bit)),
            ("protection", json!(s.protection)),
            ("critical_words", json!(s.critical_words)),
        ]
    }

    fn part_fields(s: &FaultSummary) -> Option<Value> {
        Some(json!(s.counts))
    }
}
