"""The data sets of torchvision, by what their targets are. Its own list would need its import, hence that of torch."""

TORCHVISION = (
    "CIFAR10", "CIFAR100", "CLEVRClassification", "Caltech101", "Caltech256", "CelebA", "Country211", "DTD", "EMNIST",
    "EMNIST:bymerge", "EMNIST:byclass", "EMNIST:letters", "EMNIST:digits", "EMNIST:mnist", "EuroSAT", "FER2013",
    "FGVCAircraft", "FGVCAircraft:family", "FGVCAircraft:manufacturer", "FashionMNIST", "Flowers102", "Food101",
    "GTSRB", "INaturalist", "INaturalist:mini", "ImageNet", "Imagenette", "Imagenette:320px", "Imagenette:160px",
    "KMNIST", "LFWPeople", "LSUN", "MNIST", "Omniglot", "Omniglot:evaluation", "OxfordIIITPet", "PCAM", "Places365",
    "Places365:small", "QMNIST", "RenderedSST2", "SEMEION", "STL10", "STL10:unlabeled", "SUN397", "SVHN", "SVHN:extra",
    "StanfordCars", "USPS",
)  # fmt: skip
"""Torchvision's data sets of pictures that have a class each, or none, and their variants."""
OTHERS = {
    "boxes around things": "CocoDetection Kitti VOCDetection WIDERFace",
    "masks": "Cityscapes SBDataset VOCSegmentation",
    "captions": "CocoCaptions Flickr30k Flickr8k SBU",
    "pairs of pictures": "LFWPairs PhotoTour",
    "films": "HMDB51 Kinetics MovingMNIST UCF101",
    "optical flow": "FlyingChairs FlyingThings3D HD1K KittiFlow Sintel",
    "stereo pictures": "CREStereo CarlaStereo ETH3DStereo FallingThingsStereo InStereo2k Kitti2012Stereo "
    "Kitti2015Stereo Middlebury2014Stereo SceneFlowStereo SintelStereo",
    "whatever a folder has": "DatasetFolder ImageFolder",
    "noise": "FakeData",
}
"""What its other data sets have instead of classes."""
