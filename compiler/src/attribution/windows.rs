//! Windows that occlusion covers.

/// Which axes of a sample windows move along, and how it is shared between places and channels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// Sizes of a sample, without the batch.
    pub shape: Vec<usize>,
    /// Axes that are places; the others are covered whole.
    pub axes: Vec<usize>,
}

impl Places {
    /// Numbers of a sample.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Sizes of the axes that are places.
    pub fn sizes(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| self.shape[*axis]).collect()
    }

    /// The place of an element, by its position in the sample.
    pub fn place_of(&self, element: usize) -> usize {
        let index = kiln_ir::tensor::unravel(element, &self.shape);
        self.axes.iter().fold(0, |place, axis| place * self.shape[*axis] + index[*axis])
    }

    /// All windows of that side, `stride` apart along each axis; the last ones reach the end. Each is the list of its elements.
    pub fn windows(&self, side: usize, stride: usize) -> Vec<Vec<usize>> {
        let starts: Vec<Vec<usize>> = self.axes.iter().map(|axis| starts(self.shape[*axis], side, stride)).collect();
        let mut corners: Vec<Vec<usize>> = vec![Vec::new()];
        for axis in &starts {
            corners = corners.iter().flat_map(|corner| axis.iter().map(move |start| [corner.as_slice(), &[*start]].concat())).collect();
        }
        let inside = |corner: &[usize], index: &[usize]| {
            self.axes.iter().zip(corner).all(|(axis, start)| (*start..start + side).contains(&index[*axis]))
        };
        let all: Vec<Vec<usize>> = (0..self.elements()).map(|element| kiln_ir::tensor::unravel(element, &self.shape)).collect();
        corners.iter().map(|corner| (0..all.len()).filter(|element| inside(corner, &all[*element])).collect()).collect()
    }
}

fn starts(size: usize, side: usize, stride: usize) -> Vec<usize> {
    let last = size.saturating_sub(side);
    let mut starts: Vec<usize> = (0..=last).step_by(stride.max(1)).collect();
    if starts.last() != Some(&last) {
        starts.push(last);
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_everything_and_channels_whole() {
        let picture = Places { shape: vec![2, 3, 5], axes: vec![1, 2] };
        let windows = picture.windows(2, 2);
        // Rows from 0 and 1, columns from 0, 2 and 3.
        assert_eq!(windows.len(), 6);
        assert_eq!(windows[0], [0, 1, 5, 6, 15, 16, 20, 21]);
        assert!((0..30).all(|element| windows.iter().any(|window| window.contains(&element))));
        assert_eq!((picture.place_of(0), picture.place_of(15), picture.place_of(29)), (0, 0, 14));
        let features = Places { shape: vec![3], axes: vec![0] };
        assert_eq!(features.windows(1, 1), [vec![0], vec![1], vec![2]]);
        assert_eq!(features.windows(9, 1), [vec![0, 1, 2]]);
        assert!(Places { shape: vec![0], axes: vec![0] }.windows(1, 1).iter().all(Vec::is_empty));
    }
}
