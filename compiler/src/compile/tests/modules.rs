//! Modules in text form through the whole compiler, against the reference interpreter.

use super::*;
use kiln_ir::eval::evaluate;
use kiln_ir::text::{ConstantTable, parse_module};

fn module(text: &str) -> Module {
    parse_module("", text, &ConstantTable::default()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn compiled_module(module: &Module) -> Compiled {
    let target = CpuTarget::host(CpuLevel::Native).expect("this machine");
    compile(module, target, ModelFacts::default(), &Config::default()).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Numbers in -1..1 that look random.
fn floats(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::f32(shape, &(0..shape.iter().product()).map(|_| next()).collect::<Vec<f32>>())
}

/// Largest difference to the reference, relative to the largest magnitude.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()));
    let largest = b.floats().iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    a.floats().iter().zip(b.floats()).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / largest
}

fn agrees(module: &Module, inputs: &[Tensor]) -> Vec<Tensor> {
    let pool = ThreadPool::new(2);
    let predictor = compiled_module(module).predictor(&pool).unwrap_or_else(|error| panic!("{error}"));
    let expected = evaluate(module, module.predict().expect("it has one"), inputs).unwrap_or_else(|error| panic!("{error}"));
    let outputs = predictor.run(inputs, &pool).unwrap_or_else(|error| panic!("{error}"));
    for (output, expected) in outputs.iter().zip(&expected) {
        assert!(difference(output, expected) < 1e-5, "{output:?} instead of {expected:?}");
    }
    outputs
}

#[test]
fn layers_with_any_batch() {
    let mut module = module(
        "module mlp {
          parameter w: f32[7, 19]
          parameter b: f32[19]
          fn predict(%x: f32[batch, 7]) where batch in 1..=1000 {
            %h = dot %x, %w {a_batch = [], b_batch = [], a_contract = [1], b_contract = [0]}
            %bias = broadcast %b {shape = [batch, 19]}
            %s = add %h, %bias
            %r = relu %s
            %y = softmax %r {axis = 1}
            return %y
          }
        }",
    );
    for (name, value) in [("w", floats(&[7, 19], 1)), ("b", floats(&[19], 2))] {
        module.parameters.get_mut(name).expect("declared").value = Some(value);
    }
    let whole = floats(&[64, 7], 3);
    let all = agrees(&module, std::slice::from_ref(&whole));
    for batch in [1, 7] {
        let part = Tensor::from_vec(DType::F32, vec![batch, 7], whole.bytes()[..batch * 28].to_vec());
        let outputs = agrees(&module, &[part]);
        assert_eq!(outputs[0].bytes(), &all[0].bytes()[..batch * 19 * 4], "the batch changes no bit");
    }
}

#[test]
fn an_index_outside_names_its_node() {
    let module = module(
        "module lookup {
          fn predict(%x: f32[4, 2], %i: i64[n]) {
            %y = gather %x, %i {axis = 0}
            return %y
          }
        }",
    );
    let table = floats(&[4, 2], 1);
    agrees(&module, &[table.clone(), Tensor::i64(&[3], &[0, -1, 3])]);
    let pool = ThreadPool::new(1);
    let predictor = compiled_module(&module).predictor(&pool).expect("compiles");
    let error = predictor.run(&[table, Tensor::i64(&[1], &[4])], &pool).expect_err("refused");
    insta::assert_snapshot!(error, @"error[status_5]: an index is out of range (node `gather2`)");
}

#[test]
fn a_scan_of_any_length() {
    let module = module(
        "module sums {
          fn predict(%h: f32[3], %x: f32[t, 3]) {
            %last, %all = scan %h, %x {body = graph (%h: f32[3], %x: f32[3]) {
              %a = exp %x
              %next = add %h, %a
              return %next, %a
            }, carried = 1, scanned = 1, reverse = false}
            return %last, %all
          }
        }",
    );
    for t in [0, 1, 5] {
        agrees(&module, &[floats(&[3], 1), floats(&[t, 3], 2)]);
    }
}

#[test]
fn kernels_are_shown_as_text() {
    let text = "module m { fn predict(%x: f32[batch, 3]) where batch in 1..=64 { %y = softmax %x {axis = 1}; return %y } }";
    let module = parse_module("m.kiln", text, &ConstantTable::default()).expect("well formed");
    insta::assert_snapshot!(compiled_module(&module).plan().program, @r#"
    predict (x: f32[batch, 3]) -> (y: f32[batch, 3])
      size batch from 1 to 64
      run
        nest m.kiln:1 [$i0 < batch]
          %0: f32 = x[3*$i0 + $i1]
          %1: f32 = accumulator 0
          %5: f32 = accumulator 1
          %6: f32 = x[3*$i0 + $i3]
          %7: f32 = sub %6 %1
          %8: f32 = exp %7
          %10: f32 = y[3*$i0 + $i3]
          %11: f32 = div %10 %5
          %12: f32 = y[3*$i0 + $i2]
          reduce [$i1 < 3]
            accumulator 0 = max %0
          sweep [$i3 < 3]
            y[3*$i0 + $i3] = %8
          reduce [$i2 < 3]
            accumulator 1 = sum %12
          sweep [$i3 < 3]
            y[3*$i0 + $i3] = %11
    "#);
}
