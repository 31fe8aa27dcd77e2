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

    /// The elements of each place, by its number.
    pub fn elements_by_place(&self) -> Vec<Vec<usize>> {
        let mut elements = vec![Vec::new(); self.sizes().iter().product()];
        (0..self.elements()).for_each(|element| elements[self.place_of(element)].push(element));
        elements
    }

    /// Where windows of that side begin, `stride` apart along each axis; the last ones reach the end.
    pub fn corners(&self, side: usize, stride: usize) -> Vec<Vec<usize>> {
        let starts: Vec<Vec<usize>> = self.axes.iter().map(|axis| starts(self.shape[*axis], side, stride)).collect();
        let mut corners: Vec<Vec<usize>> = vec![Vec::new()];
        for axis in &starts {
            corners = corners.iter().flat_map(|corner| axis.iter().map(move |start| [corner.as_slice(), &[*start]].concat())).collect();
        }
        corners
    }

    /// The places in the window that begins there.
    pub fn window(&self, corner: &[usize], side: usize) -> Vec<usize> {
        let sizes = self.sizes();
        let spans: Vec<usize> = corner.iter().zip(&sizes).map(|(start, size)| side.min(size - start)).collect();
        let place = |at| {
            let index = kiln_ir::tensor::unravel(at, &spans);
            sizes.iter().zip(corner).zip(index).fold(0, |place, ((size, start), inside)| place * size + start + inside)
        };
        (0..spans.iter().product()).map(place).collect()
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
        let elements = picture.elements_by_place();
        let corners = picture.corners(2, 2);
        // Rows from 0 and 1, columns from 0, 2 and 3.
        assert_eq!(corners.len(), 6);
        let covered =
            |corner: &Vec<usize>| picture.window(corner, 2).into_iter().flat_map(|place| elements[place].clone()).collect::<Vec<_>>();
        assert_eq!(covered(&corners[0]), [0, 15, 1, 16, 5, 20, 6, 21]);
        assert!((0..30).all(|element| corners.iter().any(|corner| covered(corner).contains(&element))));
        assert_eq!((picture.place_of(0), picture.place_of(15), picture.place_of(29)), (0, 0, 14));
        let features = Places { shape: vec![3], axes: vec![0] };
        assert_eq!(features.corners(1, 1), [[0], [1], [2]]);
        assert_eq!((features.corners(9, 1), features.window(&[0], 9)), (vec![vec![0]], vec![0, 1, 2]));
        let empty = Places { shape: vec![0], axes: vec![0] };
        assert!(empty.corners(1, 1).iter().all(|corner| empty.window(corner, 1).is_empty()));
    }
}
