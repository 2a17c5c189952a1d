/* A gate: between 0, shut, and 1, open. expf may overflow to infinity, which gives the right limit. */
static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}
