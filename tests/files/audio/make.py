"""Makes features.npz: log-mel features of a sound as torchaudio computes them, in f64.

    python -m venv torch && torch/bin/pip install torch==2.15.0 torchaudio==2.11.0 numpy==2.4.6 && torch/bin/python make.py

sound: a chirp with harmonics and noise, of 16-bit samples, in f32. NAME: [frames, n_mels], log(max(mel spectrum, floor)) with the floor
1e-6, by the settings that tests/audio_features.rs has under that name.
"""

import os

import numpy as np
import torch

torch.version.cuda = None  # torchaudio asks for the same CUDA as PyTorch's, of which nothing is used here
import torchaudio  # noqa: E402

torch.set_default_dtype(torch.float64)
FLOOR = 1e-6
CASES = {
    "htk": dict(sample_rate=16000, n_fft=400, hop_length=160, n_mels=80),
    "slaney": dict(sample_rate=16000, n_fft=512, win_length=400, hop_length=160, n_mels=64, norm="slaney", mel_scale="slaney"),
    "narrow": dict(sample_rate=8000, n_fft=255, hop_length=80, n_mels=40, f_min=60.0, f_max=3800.0, window_fn=torch.hamming_window),
    "magnitudes": dict(sample_rate=22050, n_fft=1024, hop_length=256, n_mels=128, power=1.0, center=False, mel_scale="slaney",
                       window_fn=torch.blackman_window),
}
random = np.random.default_rng(3)
n = np.arange(2301)
phase = 2 * np.pi * np.cumsum(200 + 0.8 * n) / 16000
sound = 0.4 * np.sin(phase) + 0.2 * np.sin(3 * phase) + 0.02 * random.normal(size=len(n))
sound[1500:] *= 0.001
sound = (np.round(sound * 32768) / 32768).astype("float32")
made = {"sound": sound}
for name, settings in CASES.items():
    mel = torchaudio.transforms.MelSpectrogram(**settings)(torch.tensor(sound, dtype=torch.float64))
    made[name] = mel.clamp(min=FLOOR).log().T.numpy().astype("float32")
np.savez_compressed(os.path.join(os.path.dirname(os.path.abspath(__file__)), "features.npz"), **made)
