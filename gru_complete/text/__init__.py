"""From bytes to token ids: corpus, tokenizer, shards on disk, and the sample world."""
