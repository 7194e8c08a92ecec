from xlingual.models.flops import *
from xlingual.models.config import TransformerConfig
c=TransformerConfig(vocab_size=250112,d_model=2048,d_ff=5120,d_kv=64,num_heads=32,num_encoder_layers=24,num_decoder_layers=24)
f=train_flops(c,TokenCounts(encoder=128*1024,decoder=128*229,encoder_length=1024,decoder_length=229)); print(f.total/16/1e12)
