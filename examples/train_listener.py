"""Train a small listener: how a head moves while it hears and sees the other one talk.

python examples/train_listener.py DATASET [--steps 1000] [--state run.pt]; the same command again goes on where it was.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from dialogbuild.dataset import DialogLoader, DialogWindows, Keep

MOTION = ("expr", "root_rad", "jaw_rad", "lids")


def inputs_and_targets(batch, me, other):
    heard = batch[other]["audio"].unflatten(1, (-1, 640))  # (B, T, 640): the samples of each tick
    seen = torch.cat([batch[other][name] for name in MOTION], -1)
    own = torch.cat([batch[me][name] for name in MOTION], -1)
    return torch.cat([heard, seen], -1), own, batch[me]["valid"] & ~batch["is_pad"]


class Listener(nn.Module):
    def __init__(self, k, width=128):
        super().__init__()
        self.rnn, self.out = nn.GRU(640 + k, width, batch_first=True), nn.Linear(width, k)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


def main(args):
    torch.manual_seed(0)
    windows = DialogWindows(
        args.dataset, args.split, args.ticks, args.ticks // 2, columns=MOTION, audio="persons", pad=True, keep=Keep(0.5)
    )
    loader = DialogLoader(windows, args.batch, seed=0, num_workers=args.workers)
    model = Listener(sum(windows[0]["left"][name].shape[1] for name in MOTION))
    optimizer, step, loss = torch.optim.Adam(model.parameters(), 1e-3), 0, torch.zeros(())
    if args.state.is_file():
        saved = torch.load(args.state, weights_only=True)
        model.load_state_dict(saved["model"]), optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        step = saved["step"]
    while step < args.steps:
        for batch in loader:  # the rest of one epoch
            pairs = [inputs_and_targets(batch, *sides) for sides in (("left", "right"), ("right", "left"))]
            loss = sum(((model(x) - y)[ok] ** 2).mean() for x, y, ok in pairs)
            optimizer.zero_grad(), loss.backward(), optimizer.step()
            step += 1
            if step == args.steps or step % 100 == 0:
                print(f"epoch {loader.epoch} step {step} loss {loss.item():.4f}")
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                torch.save({**state, "loader": loader.state_dict()}, args.state)
            if step == args.steps:
                break
    return model


def arguments(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", help="folder or URL of a published dataset")
    parser.add_argument("--split", default="train")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--state", type=Path, default=Path("listener.pt"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(arguments())
