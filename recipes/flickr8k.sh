#!/usr/bin/env bash
# The best captions on Flickr8k known so far, trained and evaluated as a DVC experiment (docs/flickr8k.md):
#
#     bash recipes/flickr8k.sh
#
# More -S options follow the recipe's own. INCEPTION=FILE takes Inception V3's weights from a file.
set -euo pipefail
[ -z "${INCEPTION:-}" ] || INCEPTION=$(realpath -- "$INCEPTION") # --temp and --queue run in another folder
cd "$(dirname "$0")/.."
exec dvc exp run \
    -S dataset.name=flickr8k \
    -S prepare.min_word_count=3 \
    -S embed.encoder=efficientnet_lite2+inception_v3 \
    -S embed.layer=default+Mixed_7a \
    -S embed.weights="default+${INCEPTION:-default}" \
    -S baseline.checkpoint=none \
    -S model.rnn=gru \
    -S model.hidden_size=512 \
    -S model.dropout=0.5 \
    -S train.epochs=8 \
    -S train.learning_rate=0.002 \
    -S train.weight_decay=0.1 \
    -S train.label_smoothing=0.1 \
    -S train.compile=true \
    -S train.adapt.plateau_epochs=0 \
    -S train.adapt.stop_epochs=0 \
    -S decode.beam_size=30 \
    -S decode.rerank=expected \
    "$@"
