import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae_jax.evaluation.full_batches import full_batches


@given(num=st.integers(1, 200), batch_size=st.integers(1, 250))
def test_every_row_is_new_once_in_batches_of_one_size(num, batch_size):
    rows = np.arange(num)
    batches = list(full_batches(num, batch_size))
    assert {len(rows[part]) for part, _ in batches} == {min(num, batch_size)}
    new = np.concatenate([rows[part][num_done:] for part, num_done in batches])
    np.testing.assert_array_equal(new, rows)
